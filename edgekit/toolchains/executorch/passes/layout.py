"""Moving permutes to where they cancel.

Keras keeps channels last and permutes around every convolution; XNNPACK would carry out each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from edgekit.toolchains.executorch.graphs import attribute, constant, is_constant, replace, tidy

aten = torch.ops.aten

_UNARY = frozenset((
    aten.relu.default, aten.hardtanh.default, aten.clamp.default, aten.sigmoid.default, aten.tanh.default,
    aten.silu.default, aten.gelu.default, aten.hardswish.default, aten.hardsigmoid.default, aten.leaky_relu.default,
    aten.elu.default, aten.exp.default, aten.neg.default, aten.sqrt.default, aten.rsqrt.default, aten.abs.default,
    aten.square.default, aten.pow.Tensor_Scalar, aten.erf.default,
))  # fmt: skip
_BINARY = frozenset((
    aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.maximum.default, aten.minimum.default,
))  # fmt: skip


def sink_permutes(graph: fx.GraphModule) -> bool:
    """Move permutes one step behind operators that work element by element, and cancel those that meet.

    Returns whether anything moved; shapes must be inferred anew before the next call.
    """
    changed = False
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        if (order := _permutation(node)) is not None:
            changed |= _cancel(node, order)
        elif (sunk := _sunk(graph, node)) is not None:
            new, back = sunk
            with graph.graph.inserting_after(new):
                behind = graph.graph.call_function(aten.permute.default, (new, list(back))) if back else new
            behind.meta["val"] = node.meta["val"]
            replace(node, behind)
            changed = True
    tidy(graph)
    return changed


def _permutation(node: Any) -> tuple[int, ...] | None:
    """The order of a permute node; None for any other."""
    if not isinstance(node, fx.Node) or node.op != "call_function" or node.target is not aten.permute.default:
        return None
    rank = node.meta["val"].dim()
    axes: Any = node.args[1]
    return tuple(int(a) % rank for a in axes)


def _inverse(order: Sequence[int]) -> list[int]:
    return [order.index(i) for i in range(len(order))]


def _cancel(node: fx.Node, order: tuple[int, ...]) -> bool:
    source = node.args[0]
    assert isinstance(source, fx.Node)
    if list(order) == list(range(len(order))):
        replace(node, source)
        return True
    first = _permutation(source)
    if first is None:
        return False
    node.args = (source.args[0], [first[i] for i in order])
    return True


def _sunk(graph: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, Sequence[int]] | None:
    """The operator on what lies before its permutes, and the order to permute its result by (empty: none)."""
    data = node.args[0] if node.args else None
    if node.target in _BINARY:
        return _sunk_binary(graph, node)
    if node.target is aten.cat.default:
        return _sunk_cat(graph, node)
    order = _permutation(data)
    if order is None:
        return None
    assert isinstance(data, fx.Node)
    if node.target in _UNARY:
        return _call(graph, node, (data.args[0], *node.args[1:]), node.kwargs), order
    if node.target is aten.constant_pad_nd.default:
        return _call(graph, node, (data.args[0], _pads(node, order), *_fill(node)), {}), order
    if node.target is aten.mean.dim and not node.kwargs:
        axes = [order[int(d)] for d in _axes(node)]
        if len(node.args) > 2 and node.args[2]:
            return _call(graph, node, (data.args[0], axes, True), {}), order
        left = [axis for axis in order if axis not in axes]
        if left == sorted(left):
            return _call(graph, node, (data.args[0], axes), {}), ()
    return None


def _sunk_binary(graph: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, Sequence[int]] | None:
    operands = node.args[:2]
    orders = {order for a in operands if (order := _permutation(a)) is not None}
    if len(orders) != 1:
        return None
    order = orders.pop()
    made: list[Any] = []
    for operand in operands:
        if _permutation(operand) is not None:
            made.append(operand.args[0])  # type: ignore[union-attr]
        elif is_constant(operand) and constant(operand).dim() <= len(order):
            value = constant(operand)
            value = value.reshape((1,) * (len(order) - value.dim()) + tuple(value.shape))
            made.append(attribute(graph, node, value.permute(_inverse(order))))
        elif isinstance(operand, int | float):
            made.append(operand)
        else:
            return None
    return _call(graph, node, tuple(made), node.kwargs), order


def _sunk_cat(graph: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, Sequence[int]] | None:
    parts: Any = node.args[0]
    orders = {_permutation(a) for a in parts}
    order = orders.pop()
    if orders or order is None:
        return None
    axis: Any = node.args[1] if len(node.args) > 1 else 0
    return _call(graph, node, ([a.args[0] for a in parts], order[axis % len(order)]), {}), order


def _axes(node: fx.Node) -> list[Any]:
    """The axes of a reduction."""
    found: Any = node.args[1]
    return list(found)


def _call(graph: fx.GraphModule, like: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> fx.Node:
    assert callable(like.target)
    with graph.graph.inserting_before(like):
        return graph.graph.call_function(like.target, args, kwargs)


def _fill(node: fx.Node) -> tuple[Any, ...]:
    """The value that a padding writes, where it is told."""
    told = [a for a in (*node.args[2:], node.kwargs.get("value")) if isinstance(a, int | float)]
    return tuple(told[:1])


def _pads(node: fx.Node, order: Sequence[int]) -> list[int]:
    """The amounts of a padding for the axes before a permute; they are listed from the last axis on."""
    pads: Any = node.args[1]
    rank = len(order)
    moved = [(0, 0)] * rank
    for i in range(len(pads) // 2):
        moved[order[rank - 1 - i]] = (pads[2 * i], pads[2 * i + 1])
    while moved and moved[0] == (0, 0):
        moved.pop(0)
    return [amount for pair in reversed(moved) for amount in pair]
