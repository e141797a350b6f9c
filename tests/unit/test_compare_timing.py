"""Comparing times: how often two equal files are called different, and a slower one the same.

A run is simulated as machines behave: slow drift and short-lived slowness that both files share, noise of each that
lasts for some blocks, blocks in which another process took the core, and a shift of each file that lasts for as long as
its process lives. ``benchmarks/compare_bars.py`` measures the same on a real machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from edgekit.bench.compare import timing
from edgekit.proof.intervals import ratio_interval

RUNS, BLOCKS = 10, 40


@dataclass(frozen=True)
class Machine:
    """How much times move, as standard deviations of their logarithms, and the share of blocks that are disturbed."""

    lasting: float = 0.01
    drift: float = 0.03
    noise: float = 0.02
    correlation: float = 0.7
    spikes: float = 0.05


QUIET = Machine(lasting=0.003, drift=0.005, noise=0.005, spikes=0.01)
USUAL = Machine()
ROUGH = Machine(lasting=0.015, drift=0.08, noise=0.05, correlation=0.9, spikes=0.15)


def runs(rng: np.random.Generator, machine: Machine, slowdown: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Block times of both files in so many processes, ``(count, BLOCKS)`` each."""
    shared = np.cumsum(rng.normal(scale=machine.drift / np.sqrt(BLOCKS), size=(count, BLOCKS)), axis=1)
    sides = []
    for factor in (1.0, slowdown):
        white = rng.normal(scale=machine.noise * np.sqrt(1 - machine.correlation**2), size=(count, BLOCKS + 50))
        own = lfilter([1.0], [1.0, -machine.correlation], white)[:, 50:]
        spike = rng.exponential(0.5, (count, BLOCKS)) * (rng.random((count, BLOCKS)) < machine.spikes)
        sides.append(factor * np.exp(shared + own + spike + rng.normal(scale=machine.lasting, size=(count, 1))))
    return sides[0], sides[1]


def verdicts(machine: Machine, slowdown: float, trials: int = 1500) -> dict[str, float]:
    """Share of comparisons with each outcome."""
    old, new = runs(np.random.default_rng(7), machine, slowdown, trials * RUNS)
    ratios = np.median(new / old, axis=1)
    assert timing.run_ratio(old[0], new[0]) == ratios[0]
    found = []
    for trial in ratios.reshape(trials, RUNS):
        ratio = timing.of_runs(list(trial))
        assert ratio is not None
        found.append(timing.decide(ratio, 1.05))
    return {verdict: found.count(verdict) / trials for verdict in set(found)}


@pytest.mark.parametrize("machine", [QUIET, USUAL, ROUGH], ids=["quiet", "usual", "rough"])
def test_equal_files_are_seldom_called_slower_or_faster(machine: Machine) -> None:
    found = verdicts(machine, 1.0)
    assert found.get("WORSE", 0.0) <= 0.035  # 2.5 % and two standard errors
    assert found.get("BETTER", 0.0) <= 0.035


@pytest.mark.parametrize(("machine", "power"), [(QUIET, 0.96), (USUAL, 0.9)], ids=["quiet", "usual"])
def test_a_slow_down_of_five_percent_is_found(machine: Machine, power: float) -> None:
    found = verdicts(machine, 1.05)
    assert found["WORSE"] >= power
    assert found.get("SAME", 0.0) <= 0.035
    assert verdicts(machine, 1 / 1.05)["BETTER"] >= power


def test_on_a_rough_machine_a_slow_down_is_undecided_and_not_called_the_same() -> None:
    found = verdicts(ROUGH, 1.05)
    assert found.get("SAME", 0.0) <= 0.035
    assert found["WORSE"] + found["UNDECIDED"] >= 0.96


def test_a_slow_down_that_is_certain_and_small_is_no_regression() -> None:
    assert verdicts(QUIET, 1.02)["SAME"] >= 0.95


def test_blocks_of_one_process_taken_as_independent_raise_false_alarms() -> None:
    """Why runs are repeated in fresh processes: what lasts as long as a process looks like a change of the file."""
    pairs = zip(*runs(np.random.default_rng(3), USUAL, 1.0, 400), strict=True)
    intervals = np.array([ratio_interval(new, old)[1:] for old, new in pairs])
    assert ((intervals[:, 0] > 1) | (intervals[:, 1] < 1)).mean() > 0.2


@pytest.mark.parametrize("cells", [10, 100])
@pytest.mark.parametrize("lasting", [0.004, 0.02])
def test_of_rows_chance_is_seen_in_how_far_all_cells_moved(lasting: float, cells: int) -> None:
    """One cell in five became slower, by 10 % or by 10 times what chance does."""
    slowdown = 1 + max(0.10, 10 * lasting)
    machine, alarms, found = Machine(lasting=lasting, noise=0.02, drift=0.0), [], []
    rng = np.random.default_rng(11)
    for _ in range(1500 // cells):
        old, new = runs(rng, machine, 1.0, cells)[0], runs(rng, machine, 1.0, cells)[1]
        new[: cells // 5] *= slowdown
        chance = timing.between(list(np.median(new, axis=1) / np.median(old, axis=1)))
        ratios = [timing.ratio_of(*pair, chance) for pair in zip(old, new, strict=True)]
        worse = [ratio is not None and timing.decide(ratio, 1.05) == "WORSE" for ratio in ratios]
        found += worse[: cells // 5]
        alarms += worse[cells // 5 :]
    assert np.mean(alarms) <= 0.025
    assert np.mean(found) >= (0.9 if cells == 100 else 0.7)


def test_a_machine_that_is_slower_today_slows_no_cell() -> None:
    old, new = runs(np.random.default_rng(2), QUIET, 1.1, 50)
    chance = timing.between(list(np.median(new, axis=1) / np.median(old, axis=1)))
    ratios = [timing.ratio_of(*pair, chance) for pair in zip(old, new, strict=True)]
    assert {timing.decide(ratio, 1.05) for ratio in ratios if ratio is not None} == {"UNDECIDED"}


def test_of_few_rows_chance_is_unknown_and_a_large_slow_down_is_found() -> None:
    assert timing.between([1.0] * (timing.FEWEST_CELLS - 1)) == timing.UNKNOWN
    machine = Machine(lasting=timing.UNKNOWN.deviation, noise=0.02, drift=0.0)

    def share(slowdown: float) -> float:
        rng = np.random.default_rng(11)
        before, after = runs(rng, machine, 1.0, 800)[0], runs(rng, machine, slowdown, 800)[1]
        ratios = [timing.ratio_of(old, new) for old, new in zip(before, after, strict=True)]
        return float(np.mean([ratio is not None and timing.decide(ratio, 1.05) == "WORSE" for ratio in ratios]))

    assert share(1.0) <= 0.04
    assert share(1.35) >= 0.9


@pytest.mark.parametrize("n", [6, 10, 12])
def test_the_interval_is_that_of_wilcoxons_test(n: int) -> None:
    """What lies outside of it is refuted by SciPy's exact signed-rank test, and what lies inside is not."""
    rng = np.random.default_rng(n)
    ratios = np.exp(rng.normal(0.02, 0.03, n))
    found = timing.of_runs(list(ratios))
    assert found is not None
    for bound, sign in ((found.low, 1), (found.high, -1)):
        for outside in (True, False):
            shift = np.log(bound) + (-sign if outside else sign) * 1e-9
            p = stats.wilcoxon(np.log(ratios) - shift, method="exact").pvalue
            assert (p <= 0.05) == outside, (n, bound, p)


def test_what_is_no_time_gives_no_verdict() -> None:
    good = np.full(10, 1.0)
    assert timing.run_ratio(good, np.array([*good[:9], -0.1])) is None
    assert timing.run_ratio(good, np.array([*good[:9], 0.0])) is None
    assert timing.ratio_of(good, np.array([*good[:9], 0.0])) is None
    assert timing.of_runs([1.0] * (timing.FEWEST_RUNS - 1)) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.01, 1.08, "WORSE"), (1.06, 1.08, "WORSE"), (1.01, 1.04, "SAME"), (0.99, 1.04, "SAME"),
        (0.99, 1.06, "UNDECIDED"), (0.9, 0.97, "BETTER"), (0.97, 0.99, "SAME"), (1.0, 1.05, "UNDECIDED"),
    ],
)  # fmt: skip
def test_the_rule(low: float, high: float, verdict: str) -> None:
    assert timing.decide(timing.Ratio((low + high) / 2, low, high, 10), 1.05) == verdict
