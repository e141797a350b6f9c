"""Core ML: ML Programs in ``.mlpackage`` folders, converted anywhere, executed by Core ML on macOS.

Elsewhere the ML Program evaluator (``edgekit.mil``) stands in for it, and the proof says so.
"""

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = ("coremltools", "tensorflow", "torch", "torchao")
#: Ending of its files.
ENDING = ".mlpackage"
#: What a file of several parts calls one of them.
ENTRY = "function"
