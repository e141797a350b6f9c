"""A toolchain without a vendor, for tests: dense layers in an npz file, run by ``edgekit/reference`` in float64.

It converts, audits and runs for real, in milliseconds. Its bad routes do what vendors' converters do on a bad day.
"""

PACKAGES = ("numpy",)
ENDING = ".null"
