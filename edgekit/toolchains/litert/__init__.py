"""LiteRT (.tflite): TensorFlow's converter, litert-torch and ai-edge-quantizer; run by ai-edge-litert with XNNPACK.

Importing this package imports no framework; each route imports what it needs.
"""

#: Distributions whose versions change what this toolchain makes.
PACKAGES = (
    "tensorflow", "keras", "tf-keras", "torch", "litert-torch", "torchao", "ai-edge-quantizer", "ai-edge-litert",
)  # fmt: skip
#: Ending of its files.
ENDING = ".tflite"
