"""The products of a graph, found in the order in which they run, so that each may get other weights on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from edgekit.compress.graph import Graph, State, Stored, axis_behind, operator, readers, shape
from edgekit.frameworks import LoadedModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.compress.graph import Floats, Places
    from edgekit.scheme import Kind

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: Rows of inputs that one sample of a convolution gives at most: positions lie close to each other and say the same.
_POSITIONS = 1024


@dataclass(frozen=True)
class Moments:
    """What is known of a product's inputs.

    Attributes:
        count: rows that were seen.
        mean: of them, ``(inputs,)``.
        second: the sum of ``x x^T``, ``(inputs, inputs)``.
        least: the smallest, ``(inputs,)``.
        most: the largest.
        mean_before: of what they were before weights ahead of them were changed.
        crossed: the sum of ``y x^T``, where ``y`` is what ``x`` was then.
    """

    count: int
    mean: Floats
    second: Floats
    least: Floats
    most: Floats
    mean_before: Floats
    crossed: Floats


@dataclass(frozen=True)
class Product:
    """A product of a value with stored weights.

    Attributes:
        name: of the stored tensor in the graph.
        names: of the layer, as the source calls it: the tensor's own, without its last part, and with it.
        kind: what it does.
        weights: ``(rows, inputs)``; inputs of a convolution are channels times positions of the kernel.
        channels: input channels, which blocks divide.
        moments: of its inputs on all samples.
    """

    name: str
    names: tuple[str, ...]
    kind: Kind
    weights: Floats
    channels: int
    moments: Callable[[], Moments]


@dataclass(frozen=True)
class Found:
    """A product in the graph.

    Attributes:
        product: what is known of it.
        node: where it runs.
        stored: its weights.
        rows: where in them each of its ``(rows, inputs)`` numbers lies.
        value: what it multiplies.
        axes: of the value, which the weights' inputs lie on, of a convolution the channels; of the result, the rows.
        own: the bias that it adds by itself; None where it adds none.
        bias: what is added to its rows, by itself or behind it; None where nothing is.
    """

    product: Product
    node: fx.Node
    stored: Stored
    rows: Places
    value: fx.Node
    axes: tuple[int, int]
    own: Any
    bias: _Bias | None

    def put(self, weights: Floats, states: Sequence[State]) -> None:
        """Give it other weights, and take the mean of what that changes out of its bias, in all runs."""
        if self.bias is not None:
            seen = self.product.moments()
            self.bias.add(self.product.weights @ seen.mean_before - weights @ seen.mean, states)
        self.stored.put(self.rows, weights)
        for state in states:
            state.reread(self.stored)


@dataclass(frozen=True)
class _Bias:
    """A stored tensor that is added to, or subtracted from, the rows of a product."""

    stored: Stored
    sign: int

    def add(self, shift: Floats, states: Sequence[State]) -> None:
        places = self.stored.places.reshape(-1)
        self.stored.put(places, self.stored.values(places) + self.sign * shift)
        for state in states:
            state.reread(self.stored)


def replace_weights(
    model: LoadedModel, samples: Iterable[Sequence[NDArray[Any]]], change: Callable[[Product], Floats | None]
) -> list[str]:
    """Run a model on samples, operator by operator, and give its products other weights, in place.

    Biases take the mean error of what was changed away: *bias correction*, Nagel et al., *Data-Free Quantization
    through Weight Equalization and Bias Correction*, ICCV 2019, section 4.2, with means that were measured.

    Args:
        model: of PyTorch, or of Keras on the torch backend.
        samples: each the arrays of one call, in the signature's order.
        change: gives ``(rows, inputs)`` weights for a product, whose inputs were computed with what it gave for those
            before; None leaves it as it is.

    Returns:
        Names of the tensors that were changed, in the order of the graph. A tensor that something else reads as well,
        a table of tokens for example, is left as it is.
    """
    graph, samples = Graph(model), list(samples)
    with torch.no_grad():
        states, before = graph.started(samples), graph.started(samples, frozen=True)
        changed = []
        for node in graph.nodes:
            found = find(node, graph, states, before) if states else None
            given = change(found.product) if found else None
            if found is not None and given is not None:
                found.put(given, states)
                changed.append(found.product.name)
            for state in (*states, *before):
                state.run(node)
    return changed


def find(node: fx.Node, graph: Graph, states: Sequence[State], before: Sequence[State] = ()) -> Found | None:
    """The product that a node computes.

    Args:
        node: any.
        graph: whose.
        states: of which its moments are, as they stand when they are asked for.
        before: the same samples in the model as it was; none where the two are one.
    """
    read = _READERS.get(operator(node)) if node.op == "call_function" else None
    multiplied = read(node, graph) if read else None
    if multiplied is None:
        return None
    stored, rows = multiplied.stored, multiplied.rows
    bias = _bias(node, graph, multiplied.axes[1], len(rows), multiplied.own)

    @cache
    def moments() -> Moments:
        return _moments(multiplied, states, before or states)

    product = Product(
        stored.target, names_of(stored), multiplied.kind, stored.values(rows), multiplied.channels, moments
    )
    return Found(product, node, stored, rows, multiplied.value, multiplied.axes, multiplied.own, bias)


def names_of(stored: Stored) -> tuple[str, str]:
    """What the source calls a layer: its tensor's name without the last part, and with it."""
    return re.split(r"[./](?=[^./]*$)", stored.called)[0], stored.called


@dataclass(frozen=True)
class _Multiplied:
    """What an operator multiplies by; ``columns`` gives of its value the ``(n, inputs)`` that its rows multiply."""

    stored: Stored
    kind: Kind
    rows: Places
    channels: int
    value: Any
    axes: tuple[int, int]
    columns: Callable[[torch.Tensor], torch.Tensor]
    own: Any = None


def _moments(of: _Multiplied, states: Sequence[State], before: Sequence[State]) -> Moments:
    count, width = 0, of.rows.shape[1]
    total, total_before, second, crossed = (np.zeros(shape) for shape in ((width,), (width,), *((width, width),) * 2))
    least, most = np.full(width, np.inf), np.full(width, -np.inf)
    for state, earlier in zip(states, before, strict=True):
        values = of.columns(state.value(of.value)).double().numpy()
        were = of.columns(earlier.value(of.value)).double().numpy() if earlier is not state else values
        count += len(values)
        total += values.sum(0)
        total_before += were.sum(0)
        second += values.T @ values
        crossed += were.T @ values
        least, most = np.minimum(least, values.min(0)), np.maximum(most, values.max(0))
    return Moments(count, total / max(1, count), second, least, most, total_before / max(1, count), crossed)


def _bias(node: fx.Node, graph: Graph, axis: int, rows: int, own: Any) -> _Bias | None:
    """What is added to the rows of a product: by itself, or by what reads its result; of a batch norm, its mean."""
    if own is not None:
        stored = graph.stored(own)
        return _Bias(stored, 1) if stored is not None and stored.places.size == rows else None
    while len(following := readers(node)) == 1:
        [behind] = following
        if operator(behind) == "batch_norm" and behind.args[0] is node and not behind.args[5] and axis == 1:
            stored = graph.stored(behind.args[3])
            return _Bias(stored, -1) if stored is not None else None
        if operator(behind) in ("add", "add_", "sub", "subtract") and not behind.kwargs:
            [other] = [argument for argument in behind.args if argument is not node] or [None]
            sign = 1 if operator(behind).startswith("add") else -1
            stored = graph.stored(other) if sign == 1 or behind.args[0] is node else None
            lies = stored is not None and along(stored.places, axis - len(shape(node)), rows)
            return _Bias(stored, sign) if stored is not None and lies else None
        moved = axis_behind(behind, axis) if behind.op == "call_function" and behind.args[0] is node else None
        if moved is None:
            return None
        node, axis = behind, moved
    return None


def along(places: Places, from_last: int, size: int) -> bool:
    """Whether a tensor that is broadcast has one number for each place of an axis, counted from the last, alone."""
    return places.size == size and places.ndim >= -from_last and places.shape[from_last] == size


def _rows(value: torch.Tensor) -> torch.Tensor:
    """A value of which the last axis is multiplied."""
    return value.reshape(-1, value.shape[-1])


def _linear(node: fx.Node, graph: Graph) -> _Multiplied | None:
    value, weight, *bias = node.args
    stored = graph.stored(weight)
    if stored is None:
        return None
    axes = len(shape(value)) - 1, len(shape(node)) - 1  # type: ignore[arg-type]
    return _Multiplied(stored, "linear", stored.places, stored.places.shape[1], value, axes, _rows, *bias)


def _matmul(node: fx.Node, graph: Graph) -> _Multiplied | None:
    """``matmul`` and ``mm``; ``addmm``, whose first argument is what is added."""
    *bias, value, matrix = node.args
    stored = graph.stored(matrix)
    if stored is None or stored.places.ndim != 2 or node.kwargs:
        return None
    axes = len(shape(value)) - 1, len(shape(node)) - 1  # type: ignore[arg-type]
    return _Multiplied(stored, "linear", stored.places.T, stored.places.shape[0], value, axes, _rows, *bias)


def _conv(node: fx.Node, graph: Graph) -> _Multiplied | None:
    """Convolutions of one group along one or two axes, none of them transposed; padding may be said in words."""
    defaults = (None, None, None, 1, 0, 1, 1)
    given: tuple[Any, ...] = (*node.args, *defaults[len(node.args) :])
    if operator(node) == "convolution":
        *given, transposed, _, groups = given  # type: ignore[assignment]
        if transposed:
            return None
        given = (*given, groups)
    value, weight, bias, stride, padding, dilation, groups = given
    stored = graph.stored(weight)
    if groups != 1 or stored is None or stored.places.ndim not in (3, 4):
        return None
    if len(shape(value)) != stored.places.ndim:  # without a batch the channels lie on another axis
        return None
    kernel = stored.places.shape[2:]

    def pair(value: Any) -> tuple[int, ...]:
        said = tuple(value) if isinstance(value, list | tuple) else (value,)
        return said * len(kernel) if len(said) < len(kernel) else said

    def columns(value: torch.Tensor) -> torch.Tensor:
        steps, spread = pair(stride), pair(dilation)
        if padding == "same":
            totals = [d * (k - 1) for k, d in zip(kernel, spread, strict=True)]
            sides = [(total // 2, total - total // 2) for total in totals]
        else:
            sides = [(p, p) for p in pair(0 if padding == "valid" else padding)]
        value = functional.pad(value, [side for pair_of in reversed(sides) for side in pair_of])
        if len(kernel) == 1:
            value = value.unsqueeze(2)
        wide = [(1, *said) if len(kernel) == 1 else said for said in (kernel, spread, steps)]
        unfolded = functional.unfold(value, wide[0], dilation=wide[1], stride=wide[2])
        rows = unfolded.transpose(1, 2).reshape(-1, unfolded.shape[1])
        return rows[:: max(1, len(rows) // _POSITIONS)]

    rows, channels = stored.places.reshape(len(stored.places), -1), stored.places.shape[1]
    return _Multiplied(stored, "conv", rows, channels, value, (1, 1), columns, bias)


def _einsum(node: fx.Node, graph: Graph) -> _Multiplied | None:
    """``einsum`` of a value and weights that sums over all letters that they share, and over no others."""
    equation, operands = str(node.args[0]), list(node.args[1])  # type: ignore[arg-type]
    if len(operands) != 2 or "." in equation or "->" not in equation:
        return None
    sides, _, out = equation.replace(" ", "").partition("->")
    left, right = sides.split(",")
    summed = [letter for letter in right if letter in left]
    kept = [letter for letter in right if letter not in left]
    repeated = len(set(left)) < len(left) or len(set(right)) < len(right)
    if not summed or not kept or repeated or set(out) != set(left + right) - set(summed):
        return None
    value, weight = operands
    stored = graph.stored(weight)
    if stored is None or stored.places.ndim != len(right):
        return None
    order = [right.index(letter) for letter in (*kept, *summed)]
    width = int(np.prod([stored.places.shape[right.index(letter)] for letter in summed]))
    rows = stored.places.transpose(order).reshape(-1, width)
    moved = [*(i for i, letter in enumerate(left) if letter not in summed), *(left.index(letter) for letter in summed)]

    def columns(value: torch.Tensor) -> torch.Tensor:
        return value.permute(moved).reshape(-1, width)

    # An axis of several letters has no place of its own: the first says where it begins.
    axes = (left.index(summed[0]), out.index(kept[0]) if len(kept) == 1 else len(out))
    return _Multiplied(stored, "linear", rows, width, value, axes, columns)


_READERS: dict[str, Callable[[fx.Node, Graph], _Multiplied | None]] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "addmm": _matmul,
    "conv1d": _conv,
    "conv2d": _conv,
    "convolution": _conv,
    "_convolution_mode": _conv,
    "einsum": _einsum,
}
