"""Whether a file became slower, from block times of it and of what it is compared with.

**The question.** With ``limit`` = 1.05 a slow-down of 5 % must be found, and none must not. Two one-sided tests share
one 95 % interval of the ratio new / old: no slow-down is refuted where its lower bound is above 1, one as large as the
limit is refuted where its upper bound is below the limit (a test of non-inferiority, E. Lesaffre, Superiority,
equivalence and non-inferiority trials, Bulletin of the NYU Hospital 66:150-154, 2008). ``WORSE``: the first is refuted
and the second is not. Whatever the width, two equal files are so found worse in at most 2.5 % of comparisons, and a
file that is slower by the limit is found the same in at most 2.5 %.

**What repeats.** Blocks of one process are no independent measurements of a file: they follow each other, and all of
them share where memory, code and caches came to lie in it, which moves a median by some per cent for as long as the
process lives (T. Mytkowicz et al., Producing wrong data without doing anything obviously wrong, ASPLOS 2009). What is
repeated is therefore the whole run in a fresh process, both files side by side in it; a run gives one number, the
median of the paired ratios, and the interval is over runs (T. Kalibera, R. Jones, Rigorous benchmarking in reasonable
time, ISMM 2013). Between runs of equal files, which of the two comes out ahead is a coin's toss, so that the signed
ranks of the logarithms are exact whatever the distribution, and one disturbed run moves them little.

**Two rows** are one run each, of different times. How much a median moves from run to run cannot be seen in them. It is
seen in how far all cells of their two files moved (``between``), most of which nothing happened to; of fewer than
``FEWEST_CELLS`` it is taken to be as much as on the worst machine that was measured. A machine that is slower as a
whole today looks like a slow-down of every cell, and is told from it by nothing: then no cell is called slower.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import stdtrit

from edgekit.bench.compare.values import Finding, Verdict
from edgekit.proof.intervals import CONFIDENCE, MIN_BLOCKS
from edgekit.proof.speed.measurement import Blocks, Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Runs below which an interval of signed ranks says nothing: of 5, the range holds with 93.75 % only.
FEWEST_RUNS = 6
#: Cells below which how far they moved says nothing of chance.
FEWEST_CELLS = 8
#: Blocks that follow each other make one batch, whose medians are nearly independent where single blocks are not
#: (batch means; A. Law, Simulation Modeling and Analysis, section 9.5.3).
BATCHES = 8

BACKWARDS = "a block took no time or less: the clock stood still or went backwards while it was measured"


@dataclass(frozen=True)
class Ratio:
    """How many times as long NEW takes: the estimate, its 95 % interval, and how many measurements that rests on."""

    value: float
    low: float
    high: float
    n: int


def decide(ratio: Ratio, limit: float) -> Verdict:
    """What an interval says of the limit; see the module."""
    if ratio.low > 1 and ratio.high >= limit:
        return "WORSE"
    if ratio.high < 1 and ratio.low <= 1 / limit:
        return "BETTER"
    return "SAME" if ratio.high < limit else "UNDECIDED"


def clock(measured: Measured) -> Literal["cpu", "wall"]:
    """Which time is compared: of one thread of a processor CPU time, which other processes do not lengthen."""
    return "cpu" if measured.unit == "cpu" and measured.threads == 1 else "wall"


def times(blocks: Blocks, which: Literal["cpu", "wall"]) -> Floats:
    """A file's time in each block, in milliseconds."""
    return np.asarray(blocks.cpu_ms if which == "cpu" else blocks.wall_ms, np.float64)


def run_ratio(old: Floats, new: Floats) -> float | None:
    """One run's number: the median of new / old of blocks that ran side by side.

    Returns:
        None where a time is not positive.
    """
    pairs = min(len(old), len(new))
    if not pairs or old.min() <= 0 or new.min() <= 0:
        return None
    return float(np.median(new[:pairs] / old[:pairs]))


def of_runs(ratios: Sequence[float]) -> Ratio | None:
    """The ratio with its interval from runs in fresh processes; None of fewer than ``FEWEST_RUNS``.

    Estimate and bounds are the Hodges-Lehmann ones: median and two order statistics of the means of all pairs of runs,
    in logarithms (Conover, Practical Nonparametric Statistics, section 5.7).
    """
    n = len(ratios)
    if n < FEWEST_RUNS:
        return None
    logs = np.log(np.asarray(ratios, np.float64))
    first, second = np.triu_indices(n)
    means = np.sort((logs[first] + logs[second]) / 2)
    rank = _rank(n, CONFIDENCE)
    low, middle, high = means[rank - 1], np.median(means), means[len(means) - rank]
    return Ratio(math.exp(middle), math.exp(low), math.exp(high), n)


@functools.cache
def _rank(n: int, confidence: float) -> int:
    """The largest k for which ``P(T < k) <= (1 - confidence) / 2``, ``T`` the sum of the positive ranks of n."""
    ways = np.zeros(n * (n + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, n + 1):  # each rank is positive, or it is not
        ways[rank:] += ways[:-rank].copy()
    return int((np.cumsum(ways) / 2.0**n <= (1 - confidence) / 2).sum())


@dataclass(frozen=True)
class Between:
    """How much the logarithm of a run's median moves from run to run: a standard deviation, known how well."""

    deviation: float
    freedom: float


#: On a virtual machine whose clock and neighbours change from minute to minute (``benchmarks/COMPARE.md``).
UNKNOWN = Between(0.05, math.inf)


def between(ratios: Sequence[float]) -> Between:
    """Of the cells of two files of rows, from the ratios new / old of their medians.

    Half of them lie within 0.6745 standard deviations of no change, if it was chance that moved them; a minority that
    something happened to changes that little. The median of absolute values has 37 % of the efficiency of a standard
    deviation, so many degrees of freedom are left (Rousseeuw, Croux, Alternatives to the median absolute deviation,
    JASA 88:1273-1283, 1993).
    """
    if len(ratios) < FEWEST_CELLS:
        return UNKNOWN
    moved = float(np.median(np.abs(np.log(ratios))))
    return Between(max(1.4826 * moved / math.sqrt(2), 1e-3), 0.37 * len(ratios))


def ratio_of(old: Floats, new: Floats, runs: Between = UNKNOWN) -> Ratio | None:
    """The ratio with its interval from block times of one run of each, at different times.

    The variance is that of two runs, or what batches of blocks say of both medians where that is more: how far cells
    moved holds what moves within a run already.

    Returns:
        None where a time is not positive, or there are too few.
    """
    spreads = [_median_and_variance(side) for side in (old, new)]
    if any(spread is None for spread in spreads):
        return None
    (before, first, n), (after, second, m) = (spread for spread in spreads if spread is not None)
    variance, freedom = max((first + second, float(BATCHES - 1)), (2 * runs.deviation**2, runs.freedom))
    half = float(stdtrit(min(freedom, 1e6), 0.5 + CONFIDENCE / 2)) * math.sqrt(variance)
    change = after - before
    return Ratio(math.exp(change), math.exp(change - half), math.exp(change + half), min(n, m))


def _median_and_variance(blocks: Floats) -> tuple[float, float, int] | None:
    """Of the logarithm of a row's median; None where it cannot be had."""
    if len(blocks) < MIN_BLOCKS or blocks.min() <= 0:
        return None
    logs = np.log(blocks)
    batches = [float(np.median(batch)) for batch in np.array_split(logs, min(BATCHES, len(logs)))]
    return float(np.median(logs)), float(np.var(batches, ddof=1)) / len(batches), len(logs)


def finding(ratio: Ratio, limit: float, old_ms: float, new_ms: float, unit: str, by: str) -> Finding:
    """A ratio as it is shown."""
    verdict = decide(ratio, limit)
    doubt = f"; {limit:g} times as long cannot be excluded, and neither can no change: measure for longer"
    return Finding(
        what="latency", verdict=verdict, unit=unit, old=old_ms, new=new_ms, change=ratio.value,
        ci95=(ratio.low, ratio.high), n=ratio.n, limit=limit, reason=by + (doubt if verdict == "UNDECIDED" else ""),
    )  # fmt: skip
