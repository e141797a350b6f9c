"""edgekit: from a Keras or PyTorch model to a proven file for an edge runtime."""

__version__ = "0.1.0"
