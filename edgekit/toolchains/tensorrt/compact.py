"""Short names for a chosen file: ONNX, as in its toolchain."""

from edgekit.toolchains.onnx.compact import compact as compact
