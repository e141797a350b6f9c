"""Where a graph leaves the scale of a channel free: what gives it can be divided by what its readers are multiplied by.

A *seam* is a value whose only readers are products with stored weights, and whose channels are scaled by stored
numbers on their way there: by a norm, by the rows of a product before it, past operators that keep a factor above zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import fx
from torch.utils._pytree import tree_leaves

from edgekit.compress.graph import CONVERSIONS, MOVES, Graph, State, Stored, axis_before, operator, readers, shape
from edgekit.compress.products import Found, along, find

if TYPE_CHECKING:
    from edgekit.compress.graph import Floats, Places

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

_PRODUCTS = ("mul", "mul_", "multiply")
#: What gives ``f(s x) = s f(x)`` for each channel and any ``s`` above 0: by how many of the last axes it reduces.
_HOMOGENEOUS = {
    **dict.fromkeys(("relu", "relu_", "leaky_relu", "leaky_relu_", "dropout"), 0),
    **dict.fromkeys(("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d"), 1),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"), 2),
}


@dataclass(frozen=True)
class Factor:
    """Stored numbers of each channel: ``places`` is ``(channels, numbers)``."""

    stored: Stored
    places: Places

    def scale(self, by: Floats) -> None:
        """Multiply the numbers of each channel by its factor."""
        self.stored.put(self.places, self.stored.values(self.places) * by[:, None])


@dataclass(frozen=True)
class Seam:
    """A value whose channels may have any scale.

    Attributes:
        giving: what scales them, then what is added to that: to be divided.
        reading: what multiplies them, by product: to be multiplied.
    """

    giving: tuple[Factor, ...]
    reading: tuple[tuple[Found | None, Factor], ...]

    @property
    def products(self) -> list[Found]:
        """The products that read it, but for depthwise ones."""
        return [found for found, _ in self.reading if found is not None]

    def apply(self, by: Floats) -> None:
        """Divide what gives the channels, and multiply what reads them: the model computes what it did."""
        for factor in self.giving:
            factor.scale(1 / by)
        for _, factor in self.reading:
            factor.scale(by)


@dataclass
class _Open:
    """A seam of which not all readers were seen yet."""

    giving: tuple[Factor, ...]
    reading: list[tuple[Found | None, Factor]] = field(default_factory=list)
    within: set[fx.Node] = field(default_factory=set)
    ends: set[fx.Node] = field(default_factory=set)


def find_seams(graph: Graph, states: Sequence[State] = ()) -> list[Seam]:
    """The seams of a graph, in the order of their first readers.

    Args:
        graph: as exported.
        states: of which the products' moments are, when they are asked for.
    """
    opened: dict[fx.Node, _Open] = {}
    for node in graph.nodes:
        found = find(node, graph, states)
        for value, axis, factor in _readings(node, graph, found):
            path, root = _up(value, axis, graph)
            if root is not None:
                seam = opened.setdefault(path[-1], _Open(root))
                seam.reading.append((found, factor))
                seam.within.update(path)
                seam.ends.add(node)
    return [Seam(o.giving, tuple(o.reading)) for o in opened.values() if _whole(o)]


def _whole(seam: _Open) -> bool:
    """Whether a factor comes out as it went in: nothing else reads the value on its way, and nothing reads it twice.

    A product of the value and what ReLU made of it would have the factor squared.
    """
    on_the_way = seam.within | seam.ends
    once = all(sum(given in seam.within for given in tree_leaves((n.args, n.kwargs))) <= 1 for n in on_the_way)
    return once and all(reader in on_the_way for n in seam.within for reader in readers(n))


def _readings(node: fx.Node, graph: Graph, found: Found | None) -> Iterable[tuple[fx.Node, int, Factor]]:
    """A value that a node multiplies, the axis of its channels, the weights by channel."""
    if found is not None:
        channels, rows = found.product.channels, found.rows
        if isinstance(found.value, fx.Node) and shape(found.value)[found.axes[0]] == channels:
            places = rows.reshape(len(rows), channels, -1).swapaxes(0, 1).reshape(channels, -1)
            yield found.value, found.axes[0], Factor(found.stored, places)
        return
    depthwise = _depthwise(node, graph)
    if depthwise is not None:
        yield node.args[0], 1, depthwise  # type: ignore[misc]


def _depthwise(node: fx.Node, graph: Graph) -> Factor | None:
    """The weights of a convolution with one group for each input channel."""
    if node.op != "call_function" or operator(node) not in ("conv1d", "conv2d", "convolution", "_convolution_mode"):
        return None
    channels, stored = shape(node.args[0])[1], graph.stored(node.args[1])  # type: ignore[arg-type]
    transposed = operator(node) == "convolution" and len(node.args) > 6 and bool(node.args[6])
    if transposed or stored is None or stored.places.shape[1] != 1 or channels == 1:
        return None
    if len(shape(node)) != stored.places.ndim:  # without a batch the channels lie on another axis
        return None
    groups = node.args[8] if operator(node) == "convolution" else node.args[6] if len(node.args) > 6 else 1
    return Factor(stored, stored.places.reshape(channels, -1)) if groups == channels else None


def _up(node: Any, axis: int, graph: Graph) -> tuple[list[fx.Node], tuple[Factor, ...] | None]:
    """The way from a value up to what scales its channels, that included, and the numbers; None where nothing does."""
    path: list[fx.Node] = []
    added: tuple[Factor, ...] = ()
    while isinstance(node, fx.Node) and node.op == "call_function":
        path.append(node)
        if (giving := _giving(node, axis, graph)) is not None:
            return path, (*giving, *added)
        name, channels, from_last = operator(node), shape(node)[axis], axis - len(shape(node))
        if name in ("add", "add_") and not node.kwargs:
            value, bias = _with_stored(node, graph, from_last, channels)
            if bias is None or shape(value) != shape(node):
                return path, None
            added, node = (*added, bias), value
        elif name in _PRODUCTS and node.args[0] is not node.args[1]:
            # Of a gate and what it gates the second, mostly, has no activation function.
            for factor in reversed(node.args):
                if isinstance(factor, fx.Node) and shape(factor) == shape(node):
                    further, giving = _up(factor, axis, graph)
                    if giving is not None:
                        return [*path, *further], (*giving, *added)
            return path, None
        elif name in _HOMOGENEOUS:
            if axis >= len(shape(node)) - _HOMOGENEOUS[name]:
                return path, None
            node = node.args[0]
        else:
            moved = axis_before(node, axis)
            if moved is None:
                return path, None
            axis, node = moved, node.args[0]
    return path, None


def _giving(node: fx.Node, axis: int, graph: Graph) -> tuple[Factor, ...] | None:
    """The stored numbers by which an operator scales the channels of its result; None where it scales by none."""
    name, channels, last = operator(node), shape(node)[axis], len(shape(node)) - 1
    found = find(node, graph, ())
    if found is not None:
        rows = found.rows if found.axes[1] == axis and len(found.rows) == channels else None
        return _all_of(graph, channels, [rows is not None and Factor(found.stored, rows)], [found.own])
    if axis == 1 and _depthwise(node, graph) is not None:
        stored = graph.stored(node.args[1])
        bias = node.args[2] if len(node.args) > 2 else None
        return _all_of(graph, channels, [stored and Factor(stored, stored.places.reshape(channels, -1))], [bias])
    if name == "batch_norm" and axis == 1 and not node.args[5]:
        return _all_of(graph, channels, [], node.args[1:3])
    if name in ("layer_norm", "rms_norm") and axis == last and len(node.args[1]) == 1:  # type: ignore[arg-type]
        return _all_of(graph, channels, [], node.args[2 : 4 if name == "layer_norm" else 3])
    if name in _PRODUCTS:
        _, scale = _with_stored(node, graph, axis - len(shape(node)), channels)
        scale = scale or _stored_further(node, graph, axis - len(shape(node)), channels)
        return None if scale is None else (scale,)
    return None


def _stored_further(node: fx.Node, graph: Graph, from_last: int, channels: int) -> Factor | None:
    """The scale of a norm that is spelled out: what is multiplied is itself a product with stored numbers."""
    given: tuple[Any, ...] = node.args
    for scale in given[:2]:
        if not isinstance(scale, fx.Node) or math.prod(shape(scale)) != channels:
            continue
        if len(shape(scale)) < -from_last or shape(scale)[from_last] != channels:
            continue
        while operator(scale) in (*MOVES, *CONVERSIONS) and len(readers(scale)) == 1:
            scale = scale.args[0]
        if operator(scale) in _PRODUCTS and len(readers(scale)) == 1:
            _, factor = _with_stored(scale, graph, from_last, channels)
            if factor is not None:
                return factor
    return None


def _all_of(graph: Graph, channels: int, known: Sequence[Any], nodes: Sequence[Any]) -> tuple[Factor, ...] | None:
    """Factors, and those of nodes that hold one number for each channel; None where one is missing that must be there.

    The first is what scales, and is always needed; a bias may be none.
    """
    factors = list(known)
    for node in nodes:
        if node is not None:
            stored = graph.stored(node)
            fits = stored is not None and stored.places.size == channels
            factors.append(Factor(stored, stored.places.reshape(channels, 1)) if stored is not None and fits else None)
        elif not factors:
            return None
    return tuple(factors) if factors and all(factors) else None


def _with_stored(node: fx.Node, graph: Graph, from_last: int, channels: int) -> tuple[Any, Factor | None]:
    """Of two arguments the computed one, and the stored one if it has one number for each channel."""
    for value, other in (node.args[:2], node.args[1::-1]):
        stored = graph.stored(other)
        if stored is not None and along(stored.places, from_last, channels):
            return value, Factor(stored, stored.places.reshape(channels, 1))
    return None, None
