"""LiteRT (.tflite): TensorFlow's converter, litert-torch and ai-edge-quantizer; run by ai-edge-litert with XNNPACK.

Importing this package imports no framework; each route imports what it needs.
"""

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = (
    "ai-edge-litert", "ai-edge-quantizer", "flatbuffers", "litert-torch", "tensorflow", "tflite-runtime", "torch",
    "torchao", "litert-converter",  # the last is what litert-torch lowers with
)  # fmt: skip
#: Ending of its files.
ENDING = ".tflite"
#: Frameworks whose exporter multiplies a norm's scales into the weights behind it: TensorFlow's converter.
FOLDS_NORMS_OF = ("keras",)
#: What a file of several parts calls one of them.
ENTRY = "signature"
