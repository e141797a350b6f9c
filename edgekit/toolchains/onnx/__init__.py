"""ONNX files and ONNX Runtime on the CPU.

``export`` makes the fp32 file from a framework, ``quantize`` makes int8 files, ``audit`` reads what is inside a
file, ``session`` runs one.
"""

from edgekit.toolchains import Zeros

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = (
    "onnx", "onnxruntime", "protobuf", "tensorflow", "tf2onnx", "torch",
    "onnxscript", "onnx-ir",  # torch.onnx writes its files with these two
)  # fmt: skip
#: Ending of its files.
ENDING = ".onnx"
#: Where a bias is an integer. Products of more axes than a matrix (``MatMul``) have theirs in a sum behind them.
INTEGER_BIASES = {"conv": None, "depthwise-conv": None, "transposed-conv": None, "linear": 2}
#: What a child sets before ONNX Runtime is loaded: see ``vendor.TELEMETRY``.
VARIABLES = {"ORT_DISABLE_TELEMETRY": "1"}
#: What is made of weights that are zero.
ZEROS = Zeros(
    False,
    (),
    "ONNX Runtime has no kernel for sparse weights, and makes sparse initializers dense when it opens a file "
    "(onnxruntime#5578)",
)
