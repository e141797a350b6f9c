"""ONNX files, whoever reads them."""
