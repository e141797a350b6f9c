"""Confidence intervals: what a difference measured on so many samples can say.

Their coverage is measured in ``benchmarks/interval_coverage.py``. SciPy is imported where it is called: it is
a fifth of the time in which `edgekit` starts.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Two-sided confidence of every interval in a result; the upper bound alone holds with 97.5 %.
CONFIDENCE = 0.95
REPLICATES = 2000
#: Independent values below which nothing is said of chance: the range of 5 holds the median with 93.75 % only.
MIN_BLOCKS = 6
#: Replicates are drawn in blocks of about this many resampled values, so that memory stays below 10 MB.
_BLOCK = 250_000
#: Resampled values up to which they are kept for the next figure of as many samples: 8 MB.
_KEPT = 4_000_000
#: Groups that the jackknife of ``OfWeights`` leaves out at most.
_GROUPS = 1000


def tango_interval(b: float, c: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the score interval of a paired difference of proportions, ``(b - c) / n``.

    T. Tango (1998), Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17:891-908. It inverts the score test

        T(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d))),

    with ``q`` the likelihood estimate of the second discordant probability under difference ``d``, the larger root
    of ``2n q^2 + (-b - c + (2n - b + c) d) q - c d (1 - d) = 0``. Where nothing flips (b = c = 0) it is
    ``+-z^2 / (n + z^2)`` and not [0, 0], as a bootstrap or Wald interval would be.

    Args:
        b: samples where the first is right and the second wrong.
        c: samples where the first is wrong and the second right.
        n: all samples. Counts may be fractional, for planning.
        confidence: two-sided.

    Raises:
        UsageError: a count is negative, ``n`` is zero, or ``b + c > n``.
    """
    from scipy.special import ndtri

    if n <= 0 or b < 0 or c < 0 or b + c > n * (1 + 1e-12):
        raise UsageError(f"discordant counts b={b}, c={c} of n={n} samples; allowed: 0 <= b + c <= n, n > 0")
    z = float(ndtri(0.5 + confidence / 2))
    # With the two samples' roles exchanged the difference changes sign, and so do its bounds.
    return -_tango_upper(c, b, n, z), _tango_upper(b, c, n, z)


def _tango_upper(b: float, c: float, n: float, z: float) -> float:
    """Solve ``T(d) = -z`` for d above the estimate; T falls there from 0, so bisection is safe."""
    low, high = (b - c) / n, 1.0
    for _ in range(60):
        d = (low + high) / 2
        linear = -b - c + (2 * n - b + c) * d
        q = (math.sqrt(linear * linear + 8 * n * c * d * (1 - d)) - linear) / (4 * n)
        variance = n * (2 * q + d * (1 - d))
        if (b - c - n * d) + z * math.sqrt(max(variance, 0.0)) > 0:
            low = d
        else:
            high = d
    return high


class Statistic(Protocol):
    """A figure of so many samples, as a function of how often each of them counts."""

    @property
    def count(self) -> int:
        """Number of samples."""
        ...

    def value(self) -> float:
        """The figure itself: every sample counts once."""
        ...

    def resampled(self, weights: Floats) -> Floats:
        """``(k, n)`` how often each sample counts -> ``(k,)`` figures."""
        ...

    def left_out(self) -> Floats:
        """``(n,)`` figures without one sample each: the jackknife."""
        ...


@dataclass(frozen=True)
class OfMeans:
    """A function of the mean over samples, cheap to resample: a replicate needs one weighted sum.

    Attributes:
        samples: ``(n, m)`` what each sample contributes.
        function: ``(..., m)`` means -> ``(...)`` figures.
    """

    samples: Floats
    function: Callable[[Floats], Floats]

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def value(self) -> float:
        """The figure itself."""
        return float(self.function(self.samples.mean(axis=0)))

    def resampled(self, weights: Floats) -> Floats:
        """See ``Statistic``."""
        return self.function(weights @ self.samples / weights.sum(axis=1, keepdims=True))

    def left_out(self) -> Floats:
        """See ``Statistic``."""
        return self.function((self.samples.sum(axis=0) - self.samples) / max(self.count - 1, 1))


@dataclass(frozen=True)
class OfWeights:
    """Any figure of a whole set, one that is no function of means included: a point of a curve, a rank.

    Attributes:
        count: number of samples.
        function: ``(k, n)`` how often each sample counts -> ``(k,)`` figures.
    """

    count: int
    function: Callable[[Floats], Floats]

    def value(self) -> float:
        """The figure itself."""
        return float(self.function(np.ones((1, self.count)))[0])

    def resampled(self, weights: Floats) -> Floats:
        """See ``Statistic``."""
        return self.function(weights)

    def left_out(self) -> Floats:
        """See ``Statistic``; of more samples than ``_GROUPS``, figures without one of so many groups each.

        What is made of them, sums of cubes over sums of squares, has the same expectation for groups of independent
        samples, and without groups its work would grow with the square of their number.
        """
        group = np.arange(self.count) % _GROUPS
        left, block = np.arange(min(self.count, _GROUPS))[:, None], max(1, _BLOCK // self.count)
        parts = (left[i : i + block] for i in range(0, len(left), block))
        return np.concatenate([self.function((group != part).astype(np.float64)) for part in parts])


@dataclass(frozen=True)
class Change:
    """How two figures of the same samples differ: every resample draws the same samples for both.

    Attributes:
        before: the first figure.
        after: the second.
        difference: of the two, whatever it is made of.
    """

    before: Statistic
    after: Statistic
    difference: Callable[[Floats, Floats], Floats]

    @property
    def count(self) -> int:
        """Number of samples."""
        return self.before.count

    def value(self) -> float:
        """The difference itself."""
        return float(self.difference(np.asarray(self.before.value()), np.asarray(self.after.value())))

    def resampled(self, weights: Floats) -> Floats:
        """See ``Statistic``."""
        return self.difference(self.before.resampled(weights), self.after.resampled(weights))

    def left_out(self) -> Floats:
        """See ``Statistic``."""
        return self.difference(self.before.left_out(), self.after.left_out())


def bca_interval(
    statistic: Statistic, *, confidence: float = CONFIDENCE, replicates: int = REPLICATES, seed: int = 0
) -> tuple[float, float]:
    """Return the BCa bootstrap interval of a figure of independent samples.

    B. Efron (1987), Better bootstrap confidence intervals, JASA 82:171-185: percentiles of the bootstrap
    distribution, corrected for its bias ``z0`` and for the acceleration ``a``, which the jackknife estimates.

    Args:
        statistic: the figure, as a function of how often each sample counts.
        confidence: two-sided.
        replicates: bootstrap replicates.
        seed: the same seed gives the same interval.

    Returns:
        The bounds; both equal the estimate where no resample changes it (all samples alike, or one sample).
    """
    from scipy.special import ndtr, ndtri

    n, estimate = statistic.count, statistic.value()
    draws = np.sort(np.concatenate(_replicates(statistic, replicates, seed)))
    # Weighted sums differ in rounding alone where all samples are alike: that is no spread.
    tolerance = 1e-12 * max(1.0, abs(estimate))
    if n == 1 or draws[-1] - draws[0] <= tolerance:
        return estimate, estimate
    below, ties = (draws < estimate - tolerance).mean(), (np.abs(draws - estimate) <= tolerance).mean()
    z0 = float(ndtri(np.clip(below + ties / 2, 1 / replicates, 1 - 1 / replicates)))
    influence = statistic.left_out()
    influence = influence.mean() - influence
    spread = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    z = z0 + ndtri([0.5 - confidence / 2, 0.5 + confidence / 2])
    low, high = np.quantile(draws, ndtr(z0 + z / (1 - acceleration * z)))
    return float(low), float(high)


def _replicates(statistic: Statistic, replicates: int, seed: int) -> list[Floats]:
    """Return the figure of resamples, in blocks."""
    few = statistic.count * replicates <= _KEPT
    drawn: Iterable[NDArray[np.integer]] = (_kept if few else _drawn)(statistic.count, replicates, seed)
    return [statistic.resampled(weights.astype(np.float64)) for weights in drawn]


def _drawn(n: int, replicates: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each sample counts in each resample, ``(k, n)`` in blocks."""
    rng, block = np.random.default_rng(seed), max(1, _BLOCK // n)
    for start in range(0, replicates, block):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(block, replicates - start))


@functools.lru_cache(maxsize=1)
def _kept(n: int, replicates: int, seed: int) -> list[NDArray[np.uint16]]:
    """The same, drawn once for all files that a process scores on as many samples."""
    return [weights.astype(np.uint16) for weights in _drawn(n, replicates, seed)]


def ratio_interval(
    a: Sequence[float] | Floats, b: Sequence[float] | Floats, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Return the median of the paired ratios ``a[i] / b[i]`` with its interval: (median, low, high).

    The interval lies between two order statistics of the ratios, by inverting the sign test (Conover, Practical
    Nonparametric Statistics, section 3.2): the k-th smallest and the k-th largest, with the largest k for which
    ``P(Binomial(n, 1/2) < k) <= (1 - confidence) / 2``. It holds with at least ``confidence`` for any distribution of
    independent ratios. A slow moment of the machine strikes both of a pair and leaves their ratio; a pair in which it
    strikes one alone moves the median by one rank at most.

    Args:
        a: CPU times of the first, one per block, any unit; block i of both ran one after the other.
        b: CPU times of the second, same unit.
        confidence: two-sided.

    Raises:
        UsageError: lengths differ, fewer than 6 blocks (too few for a 95 % statement), or a time that is not positive.
    """
    from scipy.special import bdtr

    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < MIN_BLOCKS:
        raise UsageError(
            f"paired blocks of equal length, at least {MIN_BLOCKS}, are needed; got shapes {first.shape} and "
            f"{second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all() and first.min() > 0 and second.min() > 0):
        raise UsageError("a block's CPU time is not positive", hint="Run more inferences per block.")
    ratios, n = np.sort(first / second), len(first)
    rank = int((bdtr(np.arange(n), n, 0.5) <= 0.5 - confidence / 2).sum())
    return float(np.median(ratios)), float(ratios[rank - 1]), float(ratios[n - rank])
