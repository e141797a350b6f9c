"""OpenVINO IR (a pair of ``model.xml`` and ``model.bin``) and OpenVINO's CPU plugin."""

from edgekit.toolchains import Zeros
from edgekit.toolchains.openvino import vendor

vendor.silence()  # before the first import of openvino

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = ("nncf", "openvino", "torch")
#: Ending of its files.
ENDING = ".xml"
#: NNCF stores tables of lookups in int8 as well, a scale per row.
INTEGER_TABLES = True
#: What is made of weights that are zero.
ZEROS = Zeros(
    False,
    (),
    "files hold zeros as other numbers, and the CPU plugin multiplies by them: its decompression of sparse int8 "
    "weights (CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE) is off unless it is asked for, and serves products with AMX",
)
