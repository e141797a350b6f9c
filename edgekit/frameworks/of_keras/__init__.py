"""What is special about Keras: its outputs, the values that its first layers expect, its operators on PyTorch."""
