"""Biases of layers that compute in integers: where a file holds them as integers, training rounds them, too.

Such a bias is added to a sum of products of integers, and so lies on the grid of that sum: its step is the step of what
the layer takes times the step of the row's weights (Jacob et al., arXiv 1712.05877, equation 11). Steps of these sums
are fine, but what is added moves some results across the middle between two steps of the next activation, and a deep
network makes that more.

What a file has as a bias may be several operators of the graph: a BatchNorm behind a convolution, a sum with a stored
tensor. They are run once more on a value that has one number for each row, which gives the bias, and once on a larger
one, which gives what a row is multiplied by. So it is found again in every step of the training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from edgekit.compress.graph import CONVERSIONS, MOVES, Graph, axis_behind, operator, readers, shape
from edgekit.compress.matrices import Matrix, Unruled, find_matrices
from edgekit.compress.products import names_of
from edgekit.compress.qat import Chosen
from edgekit.scheme import Kind, Range

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: Of kinds of layers whose biases are integers in a file the most axes that a result may have; None: any number.
Kinds = Mapping[Kind, int | None]
#: The largest integer of a layer's weights where its bias is an integer, too; None where it is not.
Largest = Callable[[Matrix], int | None]

#: What a value of one number for each row is made larger by, to see what a row is multiplied by.
_LARGER = 1024.0
#: What multiplies rows or adds to them, if its other arguments are stored.
_AFFINE = ("batch_norm", "add", "add_", "sub", "sub_", "subtract", "mul", "mul_", "multiply", "div", "div_")
#: What leaves the steps of a value as they are.
_SAME_STEPS = (*MOVES, *CONVERSIONS, "flatten", "squeeze", "unsqueeze")


def of_files(kinds: Kinds, chosen: Chosen) -> Largest:
    """Which layers have integer biases: those of some kinds, with a scale for each row of their weights."""

    def largest(layer: Matrix) -> int | None:
        if layer.kind not in kinds or len(shape(layer.node)) > (kinds[layer.kind] or len(shape(layer.node))):
            return None
        grid = chosen(names_of(layer.stored), layer.kind, layer.rows.shape[1], layer.channels)
        return None if grid is None or grid.group else grid.largest

    return largest


@dataclass(frozen=True)
class Biased:
    """A layer with a bias that is rounded.

    Attributes:
        layer: which.
        behind: the operators behind it that belong to its bias.
        step: of what it takes.
        largest: integer of its weights.
    """

    layer: Matrix
    behind: tuple[fx.Node, ...]
    step: float
    largest: int


def find(graph: Graph, ranges: Mapping[str, Range], largest: Largest) -> Iterator[Biased]:
    """The layers whose biases are rounded: what they take lies on steps.

    Args:
        graph: any.
        ranges: of values, by nodes.
        largest: see ``of_files``.
    """
    for layer in find_matrices(graph):
        if isinstance(layer, Unruled) or (most := largest(layer)) is None:
            continue
        taken = _on_steps(layer.value, ranges)
        behind = tuple(_behind(layer, ranges))
        if taken is not None and (behind or layer.own is not None):
            yield Biased(layer, behind, taken.scale, most)


def _on_steps(node: Any, ranges: Mapping[str, Range]) -> Range | None:
    """The range whose steps a value lies on."""
    while isinstance(node, fx.Node) and node.name not in ranges:
        zeros = operator(node) in ("pad", "constant_pad_nd") and not any(node.args[3 if len(node.args) > 3 else 2 :])
        if operator(node) not in _SAME_STEPS and not zeros:
            return None
        node = node.args[0]
    return ranges[node.name] if isinstance(node, fx.Node) else None


def _behind(layer: Matrix, ends: Collection[str]) -> list[fx.Node]:
    """The operators behind a layer that multiply its rows by stored numbers, or add such, up to a value on steps."""
    node, axis, path, last = layer.node, layer.axis, list[fx.Node](), 0
    while node.name not in ends and len(following := readers(node)) == 1:
        [one] = following
        if operator(one) in _AFFINE and _by_row(one, node, axis, layer.rows.shape[0]):
            path.append(one)
            last = len(path)
        elif operator(one) in (*MOVES, *CONVERSIONS) and (moved := axis_behind(one, axis)) is not None:
            if shape(one)[moved] != shape(node)[axis] or len(shape(one)) != len(shape(node)):
                break
            path.append(one)
            axis = moved
        else:
            break
        node = one
    return path[:last]


def _by_row(node: fx.Node, value: fx.Node, axis: int, rows: int) -> bool:
    """Whether all that an operator takes beside a value is stored, and has one number for each row."""
    if operator(node) == "batch_norm":
        return node.args[0] is value and axis == 1 and not node.args[5] and all(map(_stored, node.all_input_nodes[1:]))
    if node.kwargs or len(node.args) != 2 or len(shape(node)) != len(shape(value)):
        return False
    others = [one for one in node.args if one is not value]
    if len(others) != 1 or not isinstance(others[0], fx.Node):
        return False
    if operator(node).startswith("div") and node.args[1] is value:
        return False
    sizes, from_last = shape(others[0]), axis - len(shape(value))
    lies = len(sizes) >= -from_last and sizes[from_last] == rows and math.prod(sizes) == rows
    return lies and _stored(others[0])


def _stored(node: fx.Node) -> bool:
    """Whether a value is computed of stored tensors alone."""
    return node.op == "get_attr" or (node.op == "call_function" and all(map(_stored, node.all_input_nodes)))


def insert(module: fx.GraphModule, biased: Biased) -> tuple[fx.Node, fx.Node]:
    """Add to a layer's result what rounding does to its bias, in place.

    Returns the value of the graph that had been the result, and the one that is.
    """
    graph, layer = module.graph, biased.layer
    last = biased.behind[-1] if biased.behind else layer.node
    rows = f"rows_of_{layer.node.name}"
    module.register_buffer(rows, torch.from_numpy(layer.rows.copy()), persistent=False)
    with graph.inserting_before(last.next):
        passed = [_once_more(graph, biased, more) for more in (0.0, _LARGER)]
        weights, where = graph.get_attr(layer.stored.target), graph.get_attr(rows)
        shift = graph.call_function(rounding, (*passed, weights, where, biased.step, biased.largest))
        shifted = graph.call_function(torch.ops.aten.add.Tensor, (last, shift))
    replace(last, shifted)
    return last, shifted


def replace(node: fx.Node, made: fx.Node) -> None:
    """Have all that reads a value read what was made of it."""
    node.replace_all_uses_with(made, delete_user_cb=lambda user: user is not made)


def _once_more(graph: fx.Graph, biased: Biased, more: float) -> fx.Node:
    """What the operators behind a layer make of its own bias, and so much more."""
    layer = biased.layer
    given = (layer.own, more, len(layer.rows), layer.axis, len(shape(layer.node)))
    made = {layer.node: graph.call_function(each_row, given)}
    for node in biased.behind:
        made[node] = graph.node_copy(node, lambda one: made.get(one, one))
    return made[biased.behind[-1] if biased.behind else layer.node]


def each_row(bias: Tensor | None, more: float, rows: int, axis: int, axes: int) -> Tensor:
    """A value with one number for each row: its bias, and so much more."""
    value = torch.full((rows,), more) if bias is None else bias.detach().reshape(-1) + more
    return value.reshape([rows if one == axis else 1 for one in range(axes)])


def rounding(bias: Tensor, larger: Tensor, weights: Tensor, rows: Tensor, step: float, largest: int) -> Tensor:
    """What rounding adds to a bias; gradients pass by it.

    Args:
        bias: of each row, behind what multiplies it.
        larger: the same of a value that is larger by 1024 ahead of that.
        weights: which lie on their grid.
        rows: where in these each of ``(rows, inputs)`` lies.
        step: of what the layer takes.
        largest: integer of the weights.
    """
    with torch.no_grad():
        gains = ((larger.double() - bias.double()) / _LARGER).abs()
        most = weights.detach().reshape(-1)[rows].abs().amax(1).double()
        steps = gains * (step * most / largest).reshape(gains.shape)
        exact = bias.double()
        rounded = torch.where(steps > 0, torch.round(exact / steps) * steps, exact)  # half to even, as files have it
        return (rounded - exact).to(bias.dtype)
