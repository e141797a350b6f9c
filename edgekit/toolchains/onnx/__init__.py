"""ONNX files and ONNX Runtime on the CPU.

``export`` makes the fp32 file from a framework, ``quantize`` makes int8 files, ``audit`` reads what is inside a
file, ``session`` runs one.
"""

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = (
    "onnx", "onnxruntime", "protobuf", "tensorflow", "tf2onnx", "torch",
    "onnxscript", "onnx-ir",  # torch.onnx writes its files with these two
)  # fmt: skip
#: Ending of its files.
ENDING = ".onnx"
#: What a child sets before ONNX Runtime is loaded: see ``vendor.TELEMETRY``.
VARIABLES = {"ORT_DISABLE_TELEMETRY": "1"}
