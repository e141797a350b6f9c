"""Folding BatchNorm, scales and biases into the products before them, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.toolchains.executorch.graphs import attribute, constant, is_constant, replace, tidy

aten = torch.ops.aten

#: Product -> axis of the output channels in its weights and in its result.
_PRODUCTS = {
    aten.conv1d.default: (0, 1), aten.conv2d.default: (0, 1), aten.conv_transpose2d.input: (1, 1),
    aten.linear.default: (0, -1),
}  # fmt: skip


def matmul_to_linear(graph: fx.GraphModule) -> None:
    """Products with a stored matrix become linear layers, which is what the quantizer looks for."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in (aten.matmul.default, aten.mm.default):
            continue
        data, weights = node.args
        if is_constant(weights) and not is_constant(data) and constant(weights).dim() == 2:
            turned = attribute(graph, node, constant(weights).t())
            with graph.graph.inserting_before(node):
                replace(node, graph.graph.call_function(aten.linear.default, (data, turned)))
    tidy(graph)


def fold_affine(graph: fx.GraphModule) -> bool:
    """Fold what scales and shifts the channels of a product's result (BatchNorm, a bias) into the product."""
    changed = False
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target not in _PRODUCTS or len(node.users) != 1:
            continue
        (user,) = node.users
        grouped = node.target is aten.conv_transpose2d.input and len(node.args) > 6 and node.args[6] != 1
        stored = all(is_constant(a) for a in node.args[1:3] if a is not None)
        found = _affine(user, node) if stored and not grouped else None
        if found is not None:
            _absorb(graph, node, *found)
            replace(user, node)
            changed = True
    tidy(graph)
    return changed


def _affine(user: fx.Node, product: fx.Node) -> tuple[Tensor, Tensor] | None:
    """Scale and shift per channel (float64, ``(channels,)``) of what follows a product; None where it is neither."""
    at, axis = _PRODUCTS[product.target]  # type: ignore[index]
    weights, rank = constant(product.args[1]), product.meta["val"].dim()
    if axis == 1 and rank != weights.dim():  # one image without a batch: its channels lie on axis 0
        return None
    made = user.meta["val"]
    if not isinstance(made, Tensor) or made.dtype != product.meta["val"].dtype:
        return None
    channels = weights.shape[at]
    one, zero = torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    if user.target is aten.batch_norm.default:
        scale, shift, mean, variance, training, _, epsilon = list[Any](user.args)[1:8]
        stored = all(value is None or is_constant(value) for value in (scale, shift, mean, variance))
        # Its channels are axis 1; those of a linear layer are the last, where a sequence has its steps on axis 1.
        if training or axis % rank != 1 or not stored or mean is None or variance is None:
            return None
        factor = (constant(variance).double() + epsilon).rsqrt()
        factor = factor * (constant(scale).double() if scale is not None else one)
        return factor, (constant(shift).double() if shift is not None else zero) - constant(mean).double() * factor
    if user.target not in _AFFINE or user.kwargs or len(user.args) != 2:
        return None
    other = user.args[1] if user.args[0] is product else user.args[0]
    turned = user.args[0] is not product
    if turned and user.target in (aten.sub.Tensor, aten.div.Tensor):
        return None
    value = _per_channel(other, channels, axis % rank, rank)
    return None if value is None else _AFFINE[user.target](value, one, zero)


_AFFINE: dict[Any, Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    aten.mul.Tensor: lambda value, one, zero: (value, zero),
    aten.div.Tensor: lambda value, one, zero: (1 / value, zero),
    aten.add.Tensor: lambda value, one, zero: (one, value),
    aten.sub.Tensor: lambda value, one, zero: (one, -value),
}


def _per_channel(operand: Any, channels: int, axis: int, rank: int) -> Tensor | None:
    """A constant that differs along the channel axis only, as ``(channels,)`` in float64."""
    if isinstance(operand, int | float):
        return torch.full((channels,), float(operand), dtype=torch.float64)
    if not is_constant(operand):
        return None
    value = constant(operand).double()
    if value.numel() == 1 and value.dim() <= rank:
        return value.reshape(1).expand(channels)
    shape = (1,) * (rank - value.dim()) + tuple(value.shape)
    wanted = tuple(channels if i == axis else 1 for i in range(rank))
    return value.reshape(channels) if shape == wanted else None


def _absorb(graph: fx.GraphModule, product: fx.Node, scale: Tensor, shift: Tensor) -> None:
    at, _ = _PRODUCTS[product.target]  # type: ignore[index]
    weights = constant(product.args[1])
    bias = product.args[2] if len(product.args) > 2 else None
    old = constant(bias).double() if bias is not None else torch.zeros_like(scale)
    column = scale.reshape([-1 if i == at else 1 for i in range(weights.dim())])
    new = attribute(graph, product, (weights.double() * column).to(weights.dtype))
    shifted = attribute(graph, product, (old * scale + shift).to(weights.dtype))
    product.args = (product.args[0], new, shifted, *product.args[3:])
