"""Passes over ONNX graphs."""
