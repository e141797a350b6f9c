"""Training: edgekit's loop, a loop of the user's own, and losses that fit labels."""
