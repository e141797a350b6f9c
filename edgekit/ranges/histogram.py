"""A histogram that grows with the values that it is shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Binary exponent of the smallest width, that of float32's smallest normal number.
_SMALLEST = -126


class Histogram:
    """How often values lie in bins of one width, which is a power of two; 0 is an edge, and zeros count apart.

    When the values outgrow the bins, pairs of bins become one. That is exact, so that what is found depends on the
    values alone, not on their order or on how they are split into samples.

    Attributes:
        bins: how many there are at least, once there are values; fewer than twice as many.
        width: of a bin.
        low: smallest value, at most 0.
        high: largest, at least 0.
        zeros: how many values are 0.
    """

    def __init__(self, bins: int) -> None:
        self.low = self.high = 0.0
        self.zeros = 0
        self.bins = bins
        self._exponent = _SMALLEST
        self._first = 0
        self._counts = np.zeros(0, np.int64)

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1.0, self._exponent)

    @property
    def total(self) -> int:
        """How many values there were."""
        return int(self._counts.sum()) + self.zeros

    def add(self, values: NDArray[np.floating]) -> None:
        """Count finite values, of any shape."""
        some = values[values != 0]
        self.zeros += values.size - some.size
        if not some.size:
            return
        self.low, self.high = min(self.low, float(some.min())), max(self.high, float(some.max()))
        self._grow()
        # A product with a power of two is exact.
        places = np.floor(some * np.asarray(1 / self.width, np.float64)).astype(np.int64)
        self._counts += np.bincount(places - self._first, minlength=len(self._counts))

    def sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The counts of negative and of positive values, both from 0 outwards."""
        return self._counts[: -self._first][::-1], self._counts[-self._first :]

    def folded(self) -> NDArray[np.int64]:
        """The counts of absolute values other than 0."""
        negative, positive = self.sides()
        found = np.zeros(max(len(negative), len(positive)), np.int64)
        found[: len(negative)] += negative
        found[: len(positive)] += positive
        return found

    def _grow(self) -> None:
        """Widen the bins until there are fewer than twice as many as wanted, and have them hold the extremes."""
        exponent = self._exponent
        while self._place(self.high, exponent) - self._place(self.low, exponent) >= 2 * self.bins - 1:
            exponent += 1
        first, last = self._place(self.low, exponent), self._place(self.high, exponent)
        counts = np.zeros(last - first + 1, np.int64)
        before = (self._first + np.arange(len(self._counts))) >> (exponent - self._exponent)
        np.add.at(counts, before - first, self._counts)
        self._exponent, self._first, self._counts = exponent, first, counts

    @staticmethod
    def _place(value: float, exponent: int) -> int:
        return math.floor(math.ldexp(value, -exponent))
