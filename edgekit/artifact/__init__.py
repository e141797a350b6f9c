"""What goes out: the folder with a model file and the evidence for it, and what devices build from it."""
