"""Scales and zero points in a TensorRT ONNX file."""

from __future__ import annotations

from edgekit.toolchains.onnx.passes.scales import read

__all__ = ["read"]
