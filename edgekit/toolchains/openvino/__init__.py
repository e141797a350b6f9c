"""OpenVINO IR (a pair of ``model.xml`` and ``model.bin``) and OpenVINO's CPU plugin."""

from edgekit.toolchains.openvino import vendor

vendor.silence()  # before the first import of openvino

#: Distributions whose versions change what this toolchain makes, finds or runs.
PACKAGES = ("nncf", "openvino", "torch")
#: Ending of its files.
ENDING = ".xml"
