"""Coverage of edgekit's intervals: how often a nominal 95 % interval holds the truth.

    python benchmarks/interval_coverage.py [--trials 500]

Tango's and Wald's intervals are summed exactly over every outcome; the bootstraps are simulated, with the standard
error of the simulation in the last column. ``above`` is how often the truth lies above the upper bound, which is what
the gate relies on: nominal 2.5 %.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgekit.proof.accuracy import drop_interval
from edgekit.proof.intervals import ratio_interval, tango_interval
from edgekit.proof.metrics import Metric, metric

Interval = tuple[float, float]
Logits = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
Row = tuple[str, str, float, float, float, float | None]


def wald_interval(b: int, c: int, n: int) -> Interval:
    """The textbook interval of a paired difference, which is [0, 0] where nothing flips."""
    estimate = (b - c) / n
    half = 1.959964 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return estimate - half, estimate + half


def exact(interval: Callable[[int, int, int], Interval], p_b: float, p_c: float, n: int) -> tuple[float, float, float]:
    """Coverage, share above, and mean width, summed over outcomes with a probability above 1e-9."""
    cells, most = stats.multinomial(n, [p_b, p_c, 1 - p_b - p_c]), max(p_b, p_c) * n
    reach = range(min(n, int(most + 10 * math.sqrt(most) + 8)) + 1)
    covered = above = width = 0.0
    for b, c in itertools.product(reach, reach):
        probability = float(cells.pmf([b, c, n - b - c])) if b + c <= n else 0.0
        if probability > 1e-9:
            low, high = interval(b, c, n)
            covered += probability * (low <= p_b - p_c <= high)
            above += probability * (p_b - p_c > high)
            width += probability * (high - low)
    return covered, above, width


def simulated(draw: Callable[[int], Interval], truth: float, trials: int) -> tuple[float, float, float, float]:
    """Coverage, share above, mean width, and the coverage's standard error."""
    bounds = np.array([draw(trial) for trial in range(trials)])
    covered = float(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean())
    above = float((truth > bounds[:, 1]).mean())
    return covered, above, float(np.diff(bounds).mean()), math.sqrt(max(covered * (1 - covered), 1e-4) / trials)


def proportions() -> Iterator[Row]:
    """Rows of top-1: rates at which only the float model, and only the artifact, is right."""
    for p_b, p_c in [(0.0, 0.0), (0.001, 0.001), (0.005, 0.005), (0.01, 0.002), (0.02, 0.01), (0.05, 0.05)]:
        for n in (100, 300, 1000):
            case = f"rates {p_b:g} and {p_c:g}, n = {n}"
            yield "Tango", case, *exact(tango_interval, p_b, p_c, n), None
            yield "Wald", case, *exact(wald_interval, p_b, p_c, n), None


def _text(rng: np.random.Generator, samples: int, noise: float) -> Logits:
    logits = 2 * rng.normal(size=(samples, 16, 12))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
    return labels, logits, logits + noise * rng.normal(size=logits.shape)


def _masks(rng: np.random.Generator, samples: int, noise: float) -> Logits:
    # Samples differ in difficulty, and the third class is rare.
    labels = rng.choice(3, size=(samples, 6, 6), p=[0.6, 0.35, 0.05])
    hard = rng.uniform(0.2, 0.6, size=(samples, 1, 1, 1))
    logits = np.eye(3)[labels] + hard * rng.normal(size=(samples, 6, 6, 3))
    return labels, logits, logits + noise * rng.normal(size=logits.shape)


def bootstraps(trials: int) -> Iterator[Row]:
    """Rows of perplexity (relative drop) and mean IoU; trials draw from 60000 samples, whose drop is the truth."""
    for name, make, noise in (("perplexity", _text, 0.3), ("perplexity", _text, 0.05), ("miou", _masks, 0.15)):
        chosen = metric(name)
        population = make(np.random.default_rng(10**6), 60_000, noise)
        before, after = (chosen.contributions(population[0], logits) for logits in population[1:])
        truth = float(chosen.drop(np.asarray(chosen.value(before)), np.asarray(chosen.value(after))))
        for n in (50, 300, 1000):
            draw = functools.partial(_resampled_drop, chosen, before, after, n)
            yield "BCa", f"{name}, noise {noise:g}, n = {n}", *simulated(draw, truth, trials)


def _resampled_drop(
    chosen: Metric, before: NDArray[np.float64], after: NDArray[np.float64], n: int, trial: int
) -> Interval:
    rows = np.random.default_rng(trial).integers(0, len(before), n)
    return drop_interval(chosen, before[rows], after[rows], None)


def ratio_of_medians(a: NDArray[np.float64], b: NDArray[np.float64]) -> Interval:
    """What was used before: the percentile bootstrap of the ratio of the medians, pairs resampled together."""
    chosen = np.random.default_rng(0).integers(0, len(a), size=(2000, len(a)))
    low, high = np.quantile(np.median(a[chosen], axis=1) / np.median(b[chosen], axis=1), [0.025, 0.975])
    return float(low), float(high)


def median_of_ratios(a: NDArray[np.float64], b: NDArray[np.float64]) -> Interval:
    """What ``latency`` uses."""
    return ratio_interval(a, b)[1:]


def ratios(trials: int) -> Iterator[Row]:
    """Rows of latency ratios: shared slow moments, own noise, and now and then a block twice as long."""
    for blocks, outliers, interval in itertools.product(
        (11, 41), (0.0, 0.1), (("median of ratios", median_of_ratios), ("ratio of medians", ratio_of_medians))
    ):

        def draw(trial: int, blocks: int = blocks, outliers: float = outliers, interval: Any = interval[1]) -> Interval:
            rng = np.random.default_rng(trial)
            shared = rng.gamma(100, size=blocks)
            noise = rng.lognormal(sigma=0.03, size=(2, blocks)) * (1 + (rng.random((2, blocks)) < outliers))
            return interval(1.05 * shared * noise[0], shared * noise[1])

        yield interval[0], f"{blocks} blocks, {outliers:.0%} outliers", *simulated(draw, 1.05, trials)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500, help="simulations per row of a bootstrap")
    trials = parser.parse_args().trials
    print("| interval | case | coverage | above | mean width | standard error |\n|---|---|---|---|---|---|")
    for rows in (proportions(), bootstraps(trials), ratios(trials)):
        for name, case, covered, above, width, error in rows:
            shown = "exact" if error is None else f"{error:.4f}"
            print(f"| {name} | {case} | {covered:.3f} | {above:.3f} | {width:.4f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
