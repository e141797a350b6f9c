"""Passes over ONNX graphs for TensorRT."""
