"""Masked values: places of an output that a model forbids by minus infinity, or by a number far beyond all others.

Logits of forbidden classes are often -inf, -1e9 or the smallest number of the type. Such a value carries one bit (the
place is forbidden), and its size would hide everything else in a sum of squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A mask lies this many times beyond the 99 % quantile of the other values' sizes, and is at least this large itself:
#: of a thousand probabilities the largest lies far beyond the rest, and is no mask. Of what lies there more than half
#: is the smallest number: an energy that is large once in a while is many numbers.
FAR = 1e4
_QUANTILE = 0.99
#: Values this close to the smallest one, relative to it, are one and the same mask: it is often added to the logit.
_SAME = 2.0**-20
#: The sizes of values are counted in this many bins per octave, from 2^-160 to 2^140.
_BINS = 32
_LOWEST, _HIGHEST = -160, 140


def limits(parts: Iterable[Sequence[Mapping[str, NDArray[np.generic]]]], names: Sequence[str]) -> dict[str, float]:
    """Size beyond which a value of an output is a mask, of those of ``names`` that hold any.

    Args:
        parts: samples as ``parity.compare_parts`` gets them; the first of each is the reference.
        names: outputs that hold infinity or values of at least ``FAR``.
    """
    if not names:
        return {}
    found = {name: _Sizes() for name in names}
    for reference, *_ in parts:
        for name, sizes in found.items():
            sizes.add(reference[name])
    return {name: limit for name, sizes in found.items() if (limit := sizes.limit()) is not None}


class _Sizes:
    """How many values of which size an output has; those of the smallest value counted apart."""

    def __init__(self) -> None:
        self.counts = np.zeros((_HIGHEST - _LOWEST) * _BINS, np.int64)
        self.smallest = 0.0
        self.largest = 0.0
        self.at_smallest: NDArray[np.int64] = np.zeros_like(self.counts)
        self.infinite = 0

    def add(self, reference: NDArray[np.generic]) -> None:
        values = reference[np.isfinite(reference)].astype(np.float64)
        self.infinite += reference.size - values.size
        if not values.size:
            return
        low = float(values.min())
        if low < self.smallest * (1 + _SAME):  # what was the smallest is one of the others now
            self.smallest, self.at_smallest = low, np.zeros_like(self.counts)
        values = values[values != 0]
        bins = ((np.log2(np.abs(values)) - _LOWEST) * _BINS).astype(np.int64).clip(0, len(self.counts) - 1)
        self.counts += np.bincount(bins, minlength=len(self.counts))
        if self.smallest < 0:
            same = values <= self.smallest * (1 - _SAME)
            self.at_smallest += np.bincount(bins[same], minlength=len(self.counts))
        self.largest = max(self.largest, float(np.abs(values).max(initial=0.0)))

    def limit(self) -> float | None:
        others = self.counts - self.at_smallest
        total = int(others.sum())
        limit = FAR
        if total:
            at = int(np.searchsorted(np.cumsum(others), _QUANTILE * total))
            limit = max(FAR, FAR * float(2.0 ** (_LOWEST + (at + 1) / _BINS)))
        if self.infinite:
            return limit
        beyond = math.ceil((math.log2(limit) - _LOWEST) * _BINS)
        one_number, all_numbers = int(self.at_smallest[beyond:].sum()), int(self.counts[beyond:].sum())
        return limit if self.largest > limit and 2 * one_number > all_numbers else None


def masked(values: NDArray[np.generic], limit: float) -> NDArray[np.bool_]:
    """Which values are masks: infinite, or beyond the limit; NaN is none."""
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = np.abs(values) > limit
    return found
