"""What is inside an ONNX file for TensorRT, and what TensorRT's parser would refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.toolchains import Audit
from edgekit.toolchains.onnx import audit as onnx_audit
from edgekit.toolchains.tensorrt import checks


def audit(file: Path) -> Audit:
    """Count what a file holds, and hold it against what TensorRT takes; see ``Audit``."""
    found = onnx_audit.audit(file)
    return replace(found, findings=tuple(dict.fromkeys((*found.findings, *checks.findings(onnx_audit.load(file))))))
