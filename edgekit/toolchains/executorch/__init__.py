"""ExecuTorch programs (.pte) with the XNNPACK delegate.

``rewriting`` brings an exported graph into the forms that the delegate takes, ``export``, ``half`` and ``quantize``
are the routes, ``flatbuffer``, ``program`` and ``xnnpack`` read a file without the runtime, ``audit`` counts what is
inside, ``session`` runs it.
"""

from edgekit.toolchains import Zeros

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = ("executorch", "torch", "torchao")
#: Ending of its files.
ENDING = ".pte"
#: Where a bias is an integer: the delegate gives it the steps of its input and its weights when it is lowered.
INTEGER_BIASES = {"conv": None, "depthwise-conv": None, "transposed-conv": None, "linear": None}
#: What a file of several parts calls one of them.
ENTRY = "method"
#: What is made of weights that are zero.
ZEROS = Zeros(
    False,
    (),
    "files hold zeros as other numbers, and the delegate does not ask XNNPACK for its sparse kernels",
)
