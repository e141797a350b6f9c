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
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypedDict

#: Names of operators that an audit lists.
MOST_NAMED = 20


class Product(NamedTuple):
    """A convolution, matrix product, recurrent cell or attention; or a lookup in a table, which multiplies nothing.

    Attributes:
        name: ``TYPE:name``.
        macs: multiply-accumulates of one run.
        has_weights: whether one factor is a constant of the file.
        integer: whether the runtime computes it in integers (of a lookup: whether its table is stored in them).
        float_weights: whether any of its weights are stored as floats.
    """

    name: str
    macs: int
    has_weights: bool
    integer: bool
    float_weights: bool

    def times(self, trips: int) -> Product:
        """The same in the body of a loop that runs so often."""
        return self._replace(macs=self.macs * trips)


class Counts(TypedDict):
    """The fields of ``Audit`` that products make."""

    macs_total: int
    macs_quantized: int
    macs_between_activations: int
    float_ops: tuple[str, ...]
    float_weights: tuple[str, ...]


def count(products: Iterable[Product]) -> Counts:
    """Sum up the products of a file."""
    found = list(products)
    weighted = [p for p in found if p.has_weights]
    return Counts(
        macs_total=sum(p.macs for p in weighted),
        macs_quantized=sum(p.macs for p in weighted if p.integer),
        macs_between_activations=sum(p.macs for p in found if not p.has_weights),
        float_ops=_named(p.name for p in weighted if not p.integer),
        float_weights=_named(p.name for p in weighted if p.float_weights),
    )


def _named(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))[:MOST_NAMED]


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
