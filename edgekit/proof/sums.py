"""What of one output and its reference adds up over samples, so that they need not be in memory together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof import masks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Values that are compared at a time, or one sample: float64 copies of all would take several times their memory.
CHUNK = 1 << 20

#: Distinct values that are told apart at most: four times as many as a file must take (``parity.DISTINCT``).
MOST_DISTINCT = 32


@dataclass(frozen=True)
class Channels:
    """Means over the elements of each channel: variance of the reference, its square, the square of the error."""

    variance: Floats
    mean_square: Floats
    mean_error: Floats


class Sums:
    """Sums of one output, in float64.

    The reference's deviations are taken from its first sample, not from zero: an output around 1013 would lose its
    variance in the difference of two large sums otherwise.

    Attributes:
        bad: values that are NaN, or infinite where the reference is not masked.
        far: whether the reference holds infinity or values that may be masks.
        moved_masks: values that are masked on one side only.
        equal: equal values, of integer and boolean outputs; None for others.
        moves: whether the measured output differs between samples anywhere.
        distinct_reference: values that the reference takes, ``MOST_DISTINCT`` of them at most; ``distinct_measured``
            likewise.
    """

    def __init__(self, name: str, like: NDArray[np.generic], axes: tuple[int, ...], limit: float | None) -> None:
        self.name, self._limit = name, limit
        self._shape = like.shape[1:]
        self._axes = tuple(sorted({axis % like.ndim for axis in axes} - {0}))
        self._first: Floats | None = None
        self._first_measured: NDArray[np.generic] | None = None
        self._moved = np.zeros(self._shape)
        self._counts = np.zeros(self._shape, np.int64) if limit is not None else None
        # Per axis with channels, and under 0 of all elements together: squares of deviations, of values, of errors.
        self._squares = {axis: np.zeros((3, like.shape[axis] if axis else 1)) for axis in (0, *self._axes)}
        self.samples = self.size = self.bad = self.masked = self.moved_masks = 0
        self.equal: int | None = 0 if like.dtype.kind in "iub" else None
        self.far = self.moves = False
        self.power = self.product = self.max_abs = 0.0
        self.distinct_reference: NDArray[np.generic] = np.empty(0)
        self.distinct_measured: NDArray[np.generic] = np.empty(0)

    def add(self, reference: NDArray[np.generic], measured: NDArray[np.generic]) -> None:
        """Add some samples of both sides.

        Raises:
            UsageError: the shapes differ, or the reference holds NaN.
        """
        self._check(reference, measured)
        self.samples += len(reference)
        self.size += reference.size
        rows = max(1, CHUNK // max(1, reference[0].size))
        for start in range(0, len(reference), rows):
            self._add(reference[start : start + rows], measured[start : start + rows])

    def _check(self, reference: NDArray[np.generic], measured: NDArray[np.generic]) -> None:
        if reference.shape != measured.shape:
            raise UsageError(
                f"output {self.name!r} differs in shape: reference {reference.shape}, measured {measured.shape}",
                hint="Bring both to the source's layout before comparing them.",
            )
        if reference.dtype.kind == "f" and (wrong := int(np.count_nonzero(np.isnan(reference)))):
            raise UsageError(
                f"output {self.name!r} of the reference holds NaN in {wrong} of {reference.size} values",
                hint="Run the source on these samples: its weights or the samples are not finite.",
            )

    def _add(self, reference: NDArray[np.generic], measured: NDArray[np.generic]) -> None:
        self._look(reference, measured)
        left = ~np.isfinite(measured)
        keep = None
        if self._limit is not None:
            hidden, ours = masks.masked(reference, self._limit), masks.masked(measured, self._limit)
            same = hidden & ours & (np.sign(reference) == np.sign(measured))
            self.moved_masks += int(np.count_nonzero((hidden | ours) & ~same & ~np.isnan(measured)))
            self.masked += int(np.count_nonzero(hidden))
            left &= np.isnan(measured)
            keep = ~(hidden | ours)
        self.bad += int(np.count_nonzero(left))
        if self.bad or (self.far and self._limit is None and not np.isfinite(reference).all()):
            return  # nothing that could be added up
        ref, out = reference.astype(np.float64), measured.astype(np.float64)
        if self._first is None:
            self._first = ref[0].copy()
        if keep is not None and self._counts is not None:
            new = (self._counts == 0) & keep.any(axis=0)
            first = np.take_along_axis(ref, keep.argmax(axis=0)[None], axis=0)[0]
            self._first = np.where(new, first, self._first)
            ref, out = (np.where(keep, values, 0.0) for values in (ref, out))
            self._counts += keep.sum(axis=0)
        deviation = ref - self._first
        if keep is not None:
            deviation[~keep] = 0.0
        self._moved += deviation.sum(axis=0)
        error = ref - out
        self.power += float(np.vdot(out, out))
        self.product += float(np.vdot(ref, out))
        self.max_abs = max(self.max_abs, float(np.abs(error).max(initial=0.0)))
        for row, values in enumerate((deviation, ref, error)):
            values *= values
            for axis, sums in self._squares.items():
                sums[row] += _over(values, axis)

    def _look(self, reference: NDArray[np.generic], measured: NDArray[np.generic]) -> None:
        """What is asked of the values themselves: size, equality, whether they move, how many there are."""
        if self.equal is not None:
            self.equal += int(np.count_nonzero(reference == measured))
        elif not self.far:
            self.far = bool(max(abs(float(reference.max())), abs(float(reference.min()))) >= masks.FAR)
        if self._first_measured is None:
            self._first_measured = measured[0].copy()
        self.moves = self.moves or bool((measured != self._first_measured).any())
        self.distinct_reference = _distinct(self.distinct_reference, reference)
        self.distinct_measured = _distinct(self.distinct_measured, measured)

    @property
    def signal(self) -> float:
        """Sum of the reference's squares."""
        return float(self._squares[0][1, 0])

    @property
    def noise(self) -> float:
        """Sum of the error's squares."""
        return float(self._squares[0][2, 0])

    @property
    def variance(self) -> float:
        """Mean over the elements of the reference's variance over the samples; 0 of one sample."""
        return float(self._means(0).variance[0])

    @property
    def mean_square(self) -> float:
        """Mean of the reference's squares."""
        return float(self._means(0).mean_square[0])

    @property
    def mean_error(self) -> float:
        """Mean of the error's squares."""
        return float(self._means(0).mean_error[0])

    @property
    def channels(self) -> dict[int, Channels]:
        """Means over each channel, per axis that has channels."""
        return {axis: self._means(axis) for axis in self._axes}

    def _means(self, axis: int) -> Channels:
        """Means over the elements of each channel; axis 0 stands for all elements together.

        Where values are masked an element has fewer samples: its share of the variance has fewer degrees of freedom.
        """
        counts = np.full(self._shape, self.samples) if self._counts is None else self._counts
        moved = self._moved**2 / np.maximum(counts, 1)
        deviations, squares, errors = self._squares[axis]
        total = np.maximum(_over(counts[None], axis), 1)
        freedom = np.maximum(_over(np.maximum(counts - 1, 0)[None], axis), 1)
        variance = np.maximum(deviations - _over(moved[None], axis), 0.0) / freedom
        return Channels(variance, squares / total, errors / total)


def _over(values: NDArray[Any], axis: int) -> Floats:
    """Sum over all axes but one; over all where that is 0, as an array of one value."""
    if axis == 0:
        return np.atleast_1d(values.sum())
    found: Floats = values.sum(axis=tuple(i for i in range(values.ndim) if i != axis))
    return found


def _distinct(known: NDArray[np.generic], values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Known values and new ones, each once and at most ``MOST_DISTINCT``: a few values mostly suffice to have them."""
    for some in (values.reshape(-1)[: 4 * MOST_DISTINCT], values):
        if len(known) >= MOST_DISTINCT:
            break
        known = np.unique(np.concatenate([known, some.reshape(-1)]))[:MOST_DISTINCT]
    return known
