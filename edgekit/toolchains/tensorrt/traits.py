"""An ONNX file for TensorRT as the graph that traits are found in."""

from edgekit.toolchains.onnx.traits import graph as graph
