"""Transposes inside the XNNPACK delegate that undo each other.

XNNPACK keeps images channels last. So does Keras, whose graph permutes to channels first before a convolution; the
delegate's compiler adds a transpose back and cancels pairs of its own kind only. At the model's input two remained,
a quarter of the time of a small MobileNetV2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from typing import Any


def merge_transposes(graph: Any) -> None:
    """Make one transpose of two in an ``XNNGraph``, in place, and none where the two are the identity.

    Between the two, a conversion (quantization) may stand, which then takes the first one's input.
    """
    made: dict[int, Any] = {}
    read = Counter(value for node in graph.xnodes for _, value in _inputs(node))
    read.update(graph.output_ids)
    for node in list(graph.xnodes):
        for name, value in _inputs(node):
            before: Any = made.get(value)
            setattr(node.xnode_union, name, before.input_id if _is_identity(before) else value)
        this = node.xnode_union
        made[getattr(this, "output_id", -1)] = this
        before = made.get(this.input_id) if _is_transpose(this) else None
        if _is_transpose(before):
            this.input_id, this.perm = before.input_id, [before.perm[i] for i in this.perm]
        elif type(before).__name__ == "XNNConvert" and read[before.output_id] == 1:
            first: Any = made.get(before.input_id)
            if _is_transpose(first) and [first.perm[i] for i in this.perm] == sorted(this.perm):
                before.input_id, before.output_id = first.input_id, this.output_id
                made[this.output_id] = before
                graph.xnodes.remove(node)
    left = Counter(value for node in graph.xnodes for _, value in _inputs(node))
    left.update(graph.output_ids)
    graph.xnodes = [n for n in graph.xnodes if not _is_transpose(n.xnode_union) or left[n.xnode_union.output_id]]


def _inputs(node: Any) -> Iterator[tuple[str, int]]:
    """Fields of a node that name a value which it reads."""
    for field in fields(node.xnode_union):
        if field.name.endswith("_id") and not field.name.startswith("output"):
            yield field.name, getattr(node.xnode_union, field.name)


def _is_transpose(node: Any) -> bool:
    return type(node).__name__ == "XNNStaticTranspose"


def _is_identity(node: Any) -> bool:
    return _is_transpose(node) and list(node.perm) == sorted(node.perm)
