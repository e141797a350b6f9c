"""What is inside an ONNX file for TensorRT, and what TensorRT's parser would refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.toolchains import Audit
from edgekit.toolchains.onnx import audit as onnx_audit
from edgekit.toolchains.tensorrt import builder, checks


def audit(file: Path) -> Audit:
    """Count what a file holds, and hold it against what TensorRT takes; see ``Audit``.

    Where TensorRT-RTX is installed, its parser, which needs no GPU, reads the file as well.
    """
    found = onnx_audit.audit(file)
    static = checks.findings(onnx_audit.load(file))
    parsed = [f"TensorRT-RTX's parser: {reason}" for reason in (builder.refusals(file) or ()) if not static]
    return replace(found, findings=tuple(dict.fromkeys((*found.findings, *static, *parsed))))
