"""What is inside an ONNX file for TensorRT, and what TensorRT's parser would refuse."""

from __future__ import annotations

from pathlib import Path

import onnx

from edgekit.result import Inspected
from edgekit.toolchains.onnx import audit as onnx_audit
from edgekit.toolchains.onnx.graph import Graph, load, reading
from edgekit.toolchains.tensorrt import builder, checks


def audit(file: Path) -> Inspected:
    """Count what a file holds, and hold it against what TensorRT takes; see ``Audit``.

    Where TensorRT-RTX is installed, its parser, which needs no GPU, reads the file as well.
    """
    with reading(file):
        model = load(file)
        found = onnx_audit.look(model, quantized)
        static = checks.findings(model)
    parsed = [f"TensorRT-RTX's parser: {reason}" for reason in (builder.refusals(file) or ()) if not static]
    return found.model_copy(update={"findings": tuple(dict.fromkeys((*found.findings, *static, *parsed)))})


def quantized(graph: Graph, node: onnx.NodeProto, factors: list[str]) -> bool:
    """Whether TensorRT computes a product in int8: all its factors come from Q/DQ (its recurrent cells are float)."""
    return node.op_type in checks.PRODUCTS and all(map(graph.int8_behind, factors))
