"""Multiply-accumulates, defined once for all formats.

Counted are convolutions, matrix products, recurrent cells and attention, at batch 1, the body of a loop times its
trips. In a product with weights each weight is used once per position (of a convolution's output, of a transposed
one's input, of a sequence), so that it takes positions x weights; padding is multiplied as well. In a product of two
activations (attention) each number of the result is a sum over the axis that they share. A product counts as integer
where the runtime multiplies integers: int4 or int8 weights with int8 or int16 activations.

A product with a constant zero that the converter folded away (the first state of an unrolled recurrent layer) is not in
the file and does not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from edgekit.result import Layer
from edgekit.scheme import Kind

#: Names of operators that an audit lists.
MOST_NAMED = 20


class Weights(NamedTuple):
    """A constant factor, laid out as ``Layer.shape`` says (of a recurrent layer one of its matrices).

    Attributes:
        shape: of the factor.
        type: how an element is stored.
        scales: how many scales it has; None of floats.
        zero: where it is zero as stored; None where the file does not hold its elements one by one.
        axis: that a sum goes along; None where there is no such axis, or it is not known.
        state: of a recurrent layer, whether it multiplies the state.
        block: how many elements share a scale, where the file says so: the last ones of a row may be fewer.
    """

    shape: tuple[int, ...]
    type: str
    scales: int | None
    zero: NDArray[np.bool_] | None
    axis: int | None = 1
    state: bool = False
    block: int | None = None

    @property
    def granularity(self) -> str | None:
        """What shares a scale; see ``Layer``."""
        if self.scales is None:
            return None
        if self.scales <= 1:
            return "tensor"
        each = self.block or math.prod(self.shape) // self.scales
        row = self.shape[1 if self.axis is None else self.axis] if len(self.shape) > 1 else 1
        return "channel" if each >= row else f"block:{each}"

    def laid_out(self, change: Callable[[NDArray[np.bool_]], NDArray[np.bool_]], axis: int | None = 1) -> Weights:
        """The same in another layout, which a function of an array makes; as it is where that takes no such shape."""
        # Where the elements are not known a view of one stands for them.
        known = np.broadcast_to(np.False_, self.shape) if self.zero is None else self.zero
        try:
            moved = change(known)
        except (ValueError, IndexError, ZeroDivisionError):  # a damaged file, which its runtime refuses
            return self._replace(axis=None)
        return self._replace(shape=moved.shape, zero=None if self.zero is None else moved, axis=axis)


class Product(NamedTuple):
    """A convolution, matrix product, recurrent cell or attention; or a lookup in a table, which multiplies nothing.

    Attributes:
        operator: its type in the words of the format.
        name: as the file has it.
        kind: what it does with its weights.
        macs: multiply-accumulates of one run.
        integer: whether the runtime computes it in integers (of a lookup: whether its table is stored in them).
        weights: its factors that are constants of the file, read when they are asked for; None where it has none.
    """

    operator: str
    name: str
    kind: Kind
    macs: int
    integer: bool
    weights: Callable[[], Sequence[Weights]] | None

    def times(self, trips: int) -> Product:
        """The same in the body of a loop that runs so often."""
        return self._replace(macs=self.macs * trips)


class Counts(TypedDict):
    """The fields of ``Audit`` that products make."""

    macs_total: int
    macs_quantized: int
    macs_quantized_share: float | None
    macs_between_activations: int
    float_ops: tuple[str, ...]
    float_weights: tuple[str, ...]
    layers: tuple[Layer, ...]


def count(products: Iterable[Product]) -> Counts:
    """Sum up the products of a file."""
    found = list(products)
    layers = tuple(layer(product) for product in found if product.weights is not None)
    total = sum(layer.macs for layer in layers)
    quantized = sum(layer.macs for layer in layers if layer.in_integers)
    return Counts(
        macs_total=total,
        macs_quantized=quantized,
        macs_quantized_share=quantized / total if total else None,
        macs_between_activations=sum(p.macs for p in found if p.weights is None),
        float_ops=_named(layer for layer in layers if not layer.in_integers),
        float_weights=_named(layer for layer in layers if "float" in layer.weight_type),
        layers=layers,
    )


def matrix(weights: Weights) -> Weights:
    """Weights of one matrix without the axes of size 1 before it; of a vector as one row."""
    return weights.laid_out(lambda a: a.reshape(a.shape[-2:] if a.ndim > 1 else (1, a.size)))


def transposed_filter(a: NDArray[np.bool_], groups: int) -> NDArray[np.bool_]:
    """A transposed convolution's filter, which has its input channels first, as ``Layer.shape`` lays it out."""
    inputs, outputs, *kernel = a.shape
    apart = a.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    return apart.reshape(groups * outputs, inputs // groups, *kernel)


def _named(layers: Iterable[Layer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{layer.operator}:{layer.name}" for layer in layers))[:MOST_NAMED]


def layer(product: Product) -> Layer:
    """A product with weights as the row that an audit has of it."""
    weights = product.weights() if product.weights is not None else ()
    kinds = dict.fromkeys(w.type for w in weights)
    shared = dict.fromkeys(w.granularity for w in weights if w.granularity is not None)
    return Layer(
        name=product.name,
        operator=product.operator,
        kind=product.kind,
        shape=_shape(weights),
        weight_type="+".join(kinds),
        granularity="+".join(shared) or None,
        zeros=_share([_zeros(w) for w in weights]),
        zeros_2_4=_share([_zeros_2_4(w) for w in weights]),
        macs=product.macs,
        in_integers=product.integer,
    )


def _shape(weights: Sequence[Weights]) -> tuple[int, ...]:
    """Of a recurrent layer all gates and directions below each other, input and state side by side."""
    states = [w.shape for w in weights if w.state and len(w.shape) == 2]
    shapes = [w.shape for w in weights if not w.state] or states
    if not states or shapes is states:
        return shapes[0] if shapes else ()
    return sum(shape[0] for shape in shapes), sum(shapes[0][1:]) + states[0][1]


def _share(counted: Sequence[tuple[int, int] | None]) -> float | None:
    """So many of so many, summed up; None where one is not known, or there is nothing."""
    known = [pair for pair in counted if pair is not None]
    total = sum(of for _, of in known)
    return sum(n for n, _ in known) / total if total and len(known) == len(counted) else None


def _zeros(weights: Weights) -> tuple[int, int] | None:
    return None if weights.zero is None else (int(np.count_nonzero(weights.zero)), weights.zero.size)


def _zeros_2_4(weights: Weights) -> tuple[int, int] | None:
    """Groups of four along the axis of the sum with at least two zeros, of all groups."""
    if weights.zero is None or weights.axis is None or len(weights.shape) < 2 or weights.shape[weights.axis] % 4:
        return None
    groups = np.moveaxis(weights.zero, weights.axis, -1).reshape(-1, 4)
    return int(np.count_nonzero(np.count_nonzero(groups, axis=1) >= 2)), len(groups)


def einsum(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Multiply-accumulates of ``einsum``: one for each combination of all its indices; none of a single factor."""
    if len(shapes) < 2:
        return 0
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.replace(" ", "").partition("->")[0].split(","), shapes, strict=True):
        for index, size in zip(_indices(term, len(shape)), shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values())


def _indices(term: str, rank: int) -> list[str]:
    """The indices of one factor; those behind an ellipsis are numbered from the last, as broadcasting lines them up."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{i}" for i in range(hidden, 0, -1)), *after]


def trips(start: float, step: float, limit: float) -> int:
    """How often ``while (counter < limit)`` runs, of a counter that begins at ``start``; 1 where it tells nothing."""
    return max(math.ceil((limit - start) / step), 0) if step > 0 else 1
