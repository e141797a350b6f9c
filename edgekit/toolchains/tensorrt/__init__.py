"""ONNX files for TensorRT 10 and 11: strongly typed, int8 by explicit symmetric Q/DQ.

The files are proven by ONNX Runtime as a stand-in; ``edgekit build`` makes the engine on a machine with TensorRT and a
GPU (``engine``, ``cuda``). ``quantize`` and ``half`` write the files, ``checks`` holds them against what TensorRT's
parser takes (``operators``), ``session`` runs them.
"""

from edgekit.toolchains import Zeros

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = ("onnx", "onnxruntime")
#: What is made of weights that are zero.
ZEROS = Zeros(
    False,
    ("2:4",),
    "the ONNX file holds zeros as other numbers; an engine may skip two of four from Ampere on: `edgekit build` allows "
    "its builder sparse weights where a recipe pruned 2:4 (docs.nvidia.com/deeplearning/tensorrt)",
)
