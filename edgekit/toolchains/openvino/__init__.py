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
#: A feature of processors whose integer kernels have computed right files wrong, and the next step. A HuBERT with
#: random weights: -2.2 dB with AMX, 27.4 dB on the same processor without (openvino issue 37577 is another fault).
DOUBTED_KERNELS = (
    "amx_int8",
    "This processor has AMX, with which OpenVINO computes some files wrong. To see whether this is one, convert again "
    "with ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI in the environment; then set it where the file runs, too.",
)
#: What is made of weights that are zero.
ZEROS = Zeros(
    False,
    (),
    "files hold zeros as other numbers, and the CPU plugin multiplies by them: its decompression of sparse int8 "
    "weights (CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE) is off unless it is asked for, and serves products with AMX",
)
