"""Variances of groups of values, as layers of Keras and many of users write them out.

Keras's ``ops.moments`` on PyTorch computes E[x^2] - E[x]^2. Of a constant group both are large and alike, and what
their rounding leaves may be below zero: its root is NaN. In eight bits the two squares are coarse, and the difference
is noise. The mean of squared differences is the same number, and is never below zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.toolchains.executorch.graphs import replace

aten = torch.ops.aten


def two_pass(graph: fx.GraphModule) -> None:
    """Write E[x^2] - E[x]^2 as E[(x - E[x])^2], in place."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target is not aten.sub.Tensor or len(node.args) != 2 or node.kwargs:
            continue
        mean = _squared(node.args[1])
        if mean is None or not _keeps(mean) or not _keeps(node.args[0]):
            continue
        values, axes = mean.args[:2]
        if _squared(node.args[0].args[0]) is not values or node.args[0].args[1] != axes:
            continue
        with graph.graph.inserting_before(node):
            apart = graph.graph.call_function(aten.sub.Tensor, (values, mean))
            squares = graph.graph.call_function(aten.mul.Tensor, (apart, apart))
            replace(node, graph.graph.call_function(aten.mean.dim, (squares, axes, True)))


def _squared(node: Any) -> Any:
    """What a node is the square of."""
    if not isinstance(node, fx.Node) or node.op != "call_function" or node.kwargs:
        return None
    if node.target is aten.square.default:
        return node.args[0]
    if node.target is aten.pow.Tensor_Scalar and node.args[1] == 2:
        return node.args[0]
    return node.args[0] if node.target is aten.mul.Tensor and node.args[0] is node.args[1] else None


def _keeps(node: Any) -> bool:
    """Whether a node is a mean that keeps its axes."""
    return isinstance(node, fx.Node) and node.target is aten.mean.dim and node.args[2:] == (True,) and not node.kwargs
