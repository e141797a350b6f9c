"""LiteRT (.tflite): TensorFlow's converter, litert-torch and ai-edge-quantizer; run by ai-edge-litert with XNNPACK.

Importing this package imports no framework; each route imports what it needs.
"""

from edgekit.toolchains import Zeros

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = (
    "ai-edge-litert", "ai-edge-quantizer", "flatbuffers", "litert-torch", "tensorflow", "tflite-runtime", "torch",
    "torchao", "litert-converter",  # the last is what litert-torch lowers with
)  # fmt: skip
#: Ending of its files.
ENDING = ".tflite"
#: Frameworks whose exporter multiplies a norm's scales into the weights behind it: TensorFlow's converter.
FOLDS_NORMS_OF = ("keras",)
#: Where a bias is an integer.
INTEGER_BIASES = {"conv": None, "depthwise-conv": None, "transposed-conv": None, "linear": None}
#: ai-edge-quantizer stores tables of lookups in int8 as well: a scale per row where litert-torch writes
#: ``EMBEDDING_LOOKUP``; Keras's ``GATHER`` has the steps of what it looks up.
INTEGER_TABLES = True
#: What a file of several parts calls one of them.
ENTRY = "signature"
#: What is made of weights that are zero.
ZEROS = Zeros(
    False,
    (),
    "files hold zeros as other numbers, and XNNPACK multiplies by them: its sparse kernels take sparse tensors alone, "
    "which these files do not have (tensorflow.org/model_optimization/guide/pruning/pruning_for_on_device_inference)",
)
