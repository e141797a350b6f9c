"""Sums in front of layer norms, written so that ONNX Runtime leaves them alone; see ``vendor``.

It fuses ``Add`` and ``LayerNormalization`` when it loads a file. It does not fuse a ``Sum`` of two, which is the same
operation to every runtime.
"""

from __future__ import annotations

import onnx

from edgekit.toolchains.onnx.passes.names import graphs


def keep_apart(graph: onnx.GraphProto) -> int:
    """Write as ``Sum`` what a layer norm reads; returns how many."""
    count = 0
    for inner in graphs(graph):
        read = {node.input[0] for node in inner.node if node.op_type == "LayerNormalization"}
        for node in inner.node:
            if node.op_type == "Add" and node.output[0] in read:
                node.op_type = "Sum"
                count += 1
    return count


def as_add(graph: onnx.GraphProto) -> None:
    """Write sums of two as ``Add`` again: quantizers know no ``Sum``."""
    for inner in graphs(graph):
        for node in inner.node:
            if node.op_type == "Sum" and len(node.input) == 2:
                node.op_type = "Add"
