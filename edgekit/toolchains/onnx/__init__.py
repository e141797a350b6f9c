"""ONNX files and ONNX Runtime on the CPU.

``export`` makes the fp32 file from a framework, ``quantize`` makes int8 files, ``audit`` reads what is inside a
file, ``session`` runs one.
"""

#: Distributions whose versions change what this toolchain makes.
PACKAGES = ("onnx", "onnxruntime", "onnxscript", "tf2onnx", "nncf")
#: Ending of its files.
ENDING = ".onnx"
#: What a child sets before ONNX Runtime is loaded: see ``vendor.TELEMETRY``.
VARIABLES = {"ORT_DISABLE_TELEMETRY": "1"}
