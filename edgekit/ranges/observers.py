"""What observes a tensor, sample after sample, and says its range; no sample is kept.

Every range holds 0, which padding and masks are made of. Infinities are left out: no integer stands for them. What
``observer`` makes is fed with values of any shape, one sample at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgekit.errors import UnsupportedError
from edgekit.ranges.estimator import Estimator
from edgekit.ranges.histogram import Histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Ends of a range that are tried for the least error, per side.
ENDS = 128
#: Ends that are tried for the least divergence.
THRESHOLDS = 512
#: Values other than 0 per bin: of fewer a histogram is no distribution, and a divergence from it is chance.
FEWEST_PER_BIN = 4


class Observer(Protocol):
    """Sees a tensor's values and says its range."""

    def update(self, values: NDArray[np.generic]) -> None:
        """Take the values of one sample."""
        ...

    def range(self) -> tuple[float, float]:
        """The smallest and the largest value to represent; 0 lies between them. (0, 0) where nothing was seen."""
        ...


def observer(estimator: Estimator, *, bits: int = 8, symmetric: bool = False) -> Observer:
    """An observer by an estimator of ours.

    Args:
        estimator: any whose method is not ``tool``.
        bits: of the integers that will represent the tensor.
        symmetric: whether 0 is represented by the integer 0, so that both sides reach equally far.
    """
    if estimator.method == "minmax":
        return Extremes()
    if estimator.method == "moving-average":
        assert estimator.momentum is not None
        return MovingAverage(estimator.momentum)
    assert estimator.bins is not None
    if estimator.method == "percentile":
        assert estimator.percentile is not None
        return Percentile(estimator.bins, estimator.percentile / 100, symmetric=symmetric)
    if estimator.method == "entropy":
        return Entropy(estimator.bins, bits=bits, symmetric=symmetric)
    assert estimator.method == "mse", "what a tool does by itself is not ours to observe"
    return LeastSquares(estimator.bins, bits=bits, symmetric=symmetric)


def _finite(values: NDArray[np.generic]) -> NDArray[np.floating]:
    """The finite ones among float values, in a row."""
    flat = np.asarray(values).reshape(-1)
    flat = flat.astype(np.float32) if flat.dtype not in (np.float32, np.float64) else flat
    finite = np.isfinite(flat)
    if finite.all():
        return flat
    if np.isnan(flat).any():
        raise UnsupportedError("an activation is not a number (NaN) on a calibration sample: it has no range")
    return flat[finite]


class Extremes:
    """The smallest and the largest value of all samples."""

    def __init__(self) -> None:
        self.low = self.high = 0.0

    def update(self, values: NDArray[np.generic]) -> None:
        """Take the values of one sample."""
        found = _finite(values)
        if found.size:
            self.low, self.high = min(self.low, float(found.min())), max(self.high, float(found.max()))

    def range(self) -> tuple[float, float]:
        """The extremes, with 0."""
        return self.low, self.high


class MovingAverage:
    """``end = momentum * end + (1 - momentum) * extreme`` of each sample, from the first one's extremes on.

    Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    section 3.1; PyTorch's ``MovingAverageMinMaxObserver`` with ``averaging_constant = 1 - momentum``.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.ends: tuple[float, float] | None = None

    def update(self, values: NDArray[np.generic]) -> None:
        """Take the values of one sample."""
        found = _finite(values)
        if not found.size:
            return
        seen = float(found.min()), float(found.max())
        if self.ends is None:
            self.ends = seen
        else:
            kept = self.momentum
            low, high = (kept * old + (1 - kept) * new for old, new in zip(self.ends, seen, strict=True))
            self.ends = low, high

    def range(self) -> tuple[float, float]:
        """The averages, with 0."""
        low, high = self.ends or (0.0, 0.0)
        return min(low, 0.0), max(high, 0.0)


class _OfHistogram:
    """What reads its range off a histogram of all values."""

    def __init__(self, bins: int, *, symmetric: bool) -> None:
        self.seen = Histogram(bins)
        self.symmetric = symmetric

    def update(self, values: NDArray[np.generic]) -> None:
        """Take the values of one sample."""
        self.seen.add(_finite(values))


class Percentile(_OfHistogram):
    """The values in the middle, a share of all; symmetric: of the absolute values the smaller ones.

    McKinstry et al. 2018, "Discovering Low-Precision Networks Close to Full-Precision Networks for Efficient Embedded
    Inference"; Wu et al. 2020, "Integer Quantization for Deep Learning Inference", section 3.2. Of the middle, half of
    what is left out lies on each side, as in ONNX Runtime's ``PercentileCalibrater``. Within a bin values are taken as
    evenly spread, and exact zeros as zeros.
    """

    def __init__(self, bins: int, share: float, *, symmetric: bool) -> None:
        super().__init__(bins, symmetric=symmetric)
        self.share = share

    def range(self) -> tuple[float, float]:
        """The quantiles."""
        seen = self.seen
        if self.symmetric:
            end = _reached(seen.folded(), seen.width, self.share * seen.total - seen.zeros)
            end = min(end, max(-seen.low, seen.high))
            return -end, end
        negative, positive = seen.sides()
        inside = (1 + self.share) / 2 * seen.total - seen.zeros
        low = _reached(negative, seen.width, inside - positive.sum())
        high = _reached(positive, seen.width, inside - negative.sum())
        return max(-low, seen.low), min(high, seen.high)


def _reached(counts: NDArray[np.int64], width: float, wanted: float) -> float:
    """How far from 0 so many of the counted values lie."""
    if wanted <= 0 or not len(counts):
        return 0.0
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    return float(np.interp(wanted, cumulative, width * np.arange(len(cumulative))))


class Entropy(_OfHistogram):
    """The range whose integers tell least different a distribution from the values seen (Kullback-Leibler).

    Migacz 2017, "8-bit Inference with TensorRT" (GTC): of the absolute values, what lies beyond an end is added to the
    last bin before it; against that distribution stands the one that is left when the bins before the end are joined
    to as many as there are integers, and spread again over those that held something. The end with the least
    divergence counts. Exact zeros are left out: they cost nothing. With a zero point the range is what lies within the
    end on both sides, and values of one sign have all integers for themselves. Of too few values nothing is cut off.
    """

    def __init__(self, bins: int, *, bits: int, symmetric: bool) -> None:
        super().__init__(bins, symmetric=symmetric)
        self.levels = 2**bits

    def range(self) -> tuple[float, float]:
        """The range of least divergence."""
        seen = self.seen
        if seen.total - seen.zeros < FEWEST_PER_BIN * seen.bins:
            return seen.low, seen.high
        one_sided = not self.symmetric and (seen.low == 0 or seen.high == 0)
        counts = np.trim_zeros(seen.folded(), "b")
        end = least_divergence(counts, self.levels if one_sided else self.levels // 2) * seen.width
        if self.symmetric:
            end = min(end, max(-seen.low, seen.high))
            return -end, end
        return max(seen.low, -end), min(seen.high, end)


def least_divergence(counts: NDArray[np.int64], levels: int) -> int:
    """How many of the bins the range keeps; all of them where there are no more than integers."""
    filled = (counts > 0).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(counts)])
    best, kept = np.inf, len(counts)
    for end in range(len(counts), levels, -max(1, len(counts) // THRESHOLDS)):
        clipped = counts[:end].astype(np.float64)
        clipped[-1] += before[-1] - before[end]
        starts = np.arange(levels) * end // levels
        inside, held = np.add.reduceat(counts[:end], starts), np.add.reduceat(filled[:end], starts)
        spread = inside / np.maximum(held, 1)
        quantized = np.repeat(spread, np.diff(np.append(starts, end))) * filled[:end]
        there = clipped > 0
        if (quantized[there] == 0).any():
            continue  # only what lies beyond: an infinite divergence
        share = clipped[there] / clipped.sum()
        divergence = float((share * np.log(share * quantized.sum() / quantized[there])).sum())
        if divergence < best:
            best, kept = divergence, end
    return kept


class LeastSquares(_OfHistogram):
    """The range of the least mean square error: that of rounding, ``step ** 2 / 12``, and that of cutting off.

    Banner et al. 2019, "Post Training 4-bit Quantization of Convolutional Networks for Rapid-Deployment" (ACIQ),
    section 3, with the values' histogram for their density. Both ends are sought at once, on ``ENDS`` places each;
    exact zeros, which are never rounded, count only where they are cut off, which they never are.
    """

    def __init__(self, bins: int, *, bits: int, symmetric: bool) -> None:
        super().__init__(bins, symmetric=symmetric)
        self.steps = 2**bits - 1

    def range(self) -> tuple[float, float]:
        """The range of least error."""
        seen = self.seen
        if self.symmetric:
            ends = _ends(max(-seen.low, seen.high))
            cut, inside = _cut(seen.folded(), seen.width, ends)
            best = int(np.argmin(cut + inside * (2 * ends / self.steps) ** 2 / 12))
            return -float(ends[best]), float(ends[best])
        negative, positive = seen.sides()
        lows, highs = _ends(-seen.low), _ends(seen.high)
        cut_low, inside_low = _cut(negative, seen.width, lows)
        cut_high, inside_high = _cut(positive, seen.width, highs)
        step = (lows[:, None] + highs) / self.steps
        error = cut_low[:, None] + cut_high + (inside_low[:, None] + inside_high) * step**2 / 12
        low, high = np.unravel_index(int(np.argmin(error)), error.shape)
        return -float(lows[low]), float(highs[high])


def _ends(extreme: float) -> NDArray[np.float64]:
    """Where a side may end, the extreme first; 0 alone where it has no values."""
    return extreme * np.arange(ENDS, 0, -1) / ENDS if extreme > 0 else np.zeros(1)


def _cut(counts: NDArray[np.int64], width: float, ends: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Square error of cutting off a side at each of the ends, and how many values are left inside."""
    places = width * (np.arange(len(counts)) + 0.5)
    beyond = places > ends[:, None]
    cut = np.where(beyond, counts * (places - ends[:, None]) ** 2, 0.0).sum(axis=1)
    return cut, np.where(beyond, 0, counts).sum(axis=1)
