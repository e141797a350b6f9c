"""Core ML: ML Programs in ``.mlpackage`` folders, converted anywhere, executed by Core ML on macOS.

Elsewhere the ML Program evaluator (``edgekit.mil``) stands in for it, and the proof says so.
"""

from edgekit.toolchains import Zeros

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = ("coremltools", "tensorflow", "torch", "torchao")
#: Ending of its files.
ENDING = ".mlpackage"
#: They are folders.
FOLDERS = True
#: What a file of several parts calls one of them.
ENTRY = "function"
#: coremltools stores tables of lookups in int8 as well, a scale per row.
INTEGER_TABLES = True
#: What is made of weights that are zero.
ZEROS = Zeros(
    True,
    (),
    "a zero takes one bit in floats and integers (not in palettes, nor where activations are integers); whether the "
    "Neural Engine is faster for it was not measured "
    "(apple.github.io/coremltools/docs-guides/source/opt-pruning-perf.html)",
)
