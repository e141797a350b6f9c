"""The steady state: what an inference takes once everything is warm, of one function or of several in turns.

Why these rules and not the vendors' own stands in docs/benchmarks.md. Warm-up until a quarter of a second has passed;
then rounds, in each of which every function runs a stretch of blocks, in an order that is drawn anew. A block is some
milliseconds of inferences: each has its own wall time, and CPU time and interruptions are read once per block, since
reading them takes two microseconds.
"""

from __future__ import annotations

import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgekit.proof.latency import cpu_seconds
from edgekit.proof.speed import conditions
from edgekit.proof.speed.measurement import Blocks, Spread, Sustained

#: What is found here is true of this machine alone.
MEASURES = True

#: Measurements below which a quantile says nothing: LoadGen's early stopping estimate of the 90 % and the 99 % quantile
#: needs so many (MLPerf Inference rules, early stopping, c = 0.99, d = 0).
ENOUGH = {90: 64, 99: 662}
#: Milliseconds of a block, at least one inference; of warming up, at least so many inferences.
BLOCK_MS = 2.0
WARM_UP_MS, WARM_UPS = 250.0, 3
#: Rounds at most, and at least.
ROUNDS, FEWEST_ROUNDS = 60, 11
#: Inferences of one function at most; wall seconds beyond which no further round begins once there are enough.
MOST_CALLS = 200_000
#: Steps of a long run.
SUSTAINED = 120
_DRAWS = 2000

Invoke = Callable[[], object]


@dataclass(frozen=True)
class Subject:
    """A function to be timed.

    Attributes:
        invoke: one inference; returns when it is done.
        prepare: called outside of the clock at the start of a round with its number, to set that round's inputs. It
            runs them once: others had the caches meanwhile, and a runtime may prepare itself for new inputs.
        steps: inferences of a sequence, before each of which ``prepare`` is called: 1 where every inference is alike.
    """

    invoke: Invoke
    prepare: Callable[[int], None] = lambda number: None
    steps: int = 1


@dataclass
class Record:
    """What was measured of one subject: per inference, and per block."""

    calls: int = 1
    walls: list[int] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    switches: int = 0
    lost: int = 0
    rounds: list[tuple[int, int]] = field(default_factory=list)
    cpu_rounds: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Clocks:
    """What tells time: wall nanoseconds, CPU seconds of the process, involuntary switches so far."""

    wall_ns: Callable[[], int] = time.perf_counter_ns
    cpu_s: Callable[[], float] = cpu_seconds
    switches: Callable[[], int] = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def measure(
    subjects: Sequence[Subject], *, seconds: float = 2.0, seed: int = 0, clocks: Clocks | None = None
) -> list[Record]:
    """Time functions in turns.

    Args:
        subjects: what is timed.
        seconds: wall seconds that each should be timed for; ``FEWEST_ROUNDS`` are made however long they take.
        seed: of the order within rounds.
        clocks: for tests.
    """
    clocks = clocks or Clocks()
    records = [Record() for _ in subjects]
    stretches = []
    for subject, record in zip(subjects, records, strict=True):
        once_ms = warm_up(subject, clocks)
        record.calls = subject.steps if subject.steps > 1 else max(1, round(BLOCK_MS / once_ms))
        blocks = max(1, round(seconds * 1e3 / ROUNDS / (record.calls * once_ms)))
        stretches.append(min(blocks, max(1, MOST_CALLS // ROUNDS // record.calls)))
    order, draw = list(range(len(subjects))), random.Random(seed)  # noqa: S311 - an order, no secret
    until = clocks.wall_ns() + int(seconds * 1e9 * len(subjects))
    for number in range(ROUNDS):
        if number >= FEWEST_ROUNDS and clocks.wall_ns() > until:
            break
        draw.shuffle(order)
        for index in order:
            _round(subjects[index], records[index], number, stretches[index], clocks)
    return records


def warm_up(subject: Subject, clocks: Clocks) -> float:
    """Run until it is warm; returns the wall milliseconds of the fastest of the last three."""
    times: list[float] = []
    spent = 0.0
    subject.prepare(0)
    while len(times) < WARM_UPS or (spent < WARM_UP_MS and len(times) < MOST_CALLS):
        start = clocks.wall_ns()
        subject.invoke()
        times.append(max(1, clocks.wall_ns() - start) / 1e6)
        spent += times[-1]
        if spent > 2e3:  # a second inference says little more of what takes seconds
            break
    return max(min(times[-3:]), 1e-4)


def _round(subject: Subject, record: Record, number: int, blocks: int, clocks: Clocks) -> None:
    """One stretch of blocks."""
    walls, cpus = len(record.walls), len(record.cpus)
    subject.prepare(number)
    for _ in range(blocks):
        times, cpu, switches = (_sequence if subject.steps > 1 else _block)(subject, record.calls, clocks)
        forward = [time for time in times if time > 0]
        record.lost += len(times) - len(forward)
        record.walls += forward
        record.switches += switches
        if cpu > 0:
            record.cpus.append(cpu * 1e3 / record.calls)
        else:
            record.lost += 1
    if len(record.walls) > walls and len(record.cpus) > cpus:
        record.rounds.append((walls, len(record.walls)))
        record.cpu_rounds.append((cpus, len(record.cpus)))


def _block(subject: Subject, calls: int, clocks: Clocks) -> tuple[list[int], float, int]:
    """Inferences on the same inputs."""
    invoke, now = subject.invoke, clocks.wall_ns
    times = [0] * calls
    switches, cpu = clocks.switches(), clocks.cpu_s()
    for index in range(calls):
        start = now()
        invoke()
        times[index] = now() - start
    return times, clocks.cpu_s() - cpu, clocks.switches() - switches


def _sequence(subject: Subject, calls: int, clocks: Clocks) -> tuple[list[int], float, int]:
    """A sequence, whose steps have inputs of their own: what is set between them is not on the clock."""
    times, spent, switches = [], 0.0, clocks.switches()
    for index in range(calls):
        subject.prepare(index)
        cpu, start = clocks.cpu_s(), clocks.wall_ns()
        subject.invoke()
        times.append(clocks.wall_ns() - start)
        spent += clocks.cpu_s() - cpu
    return times, spent, clocks.switches() - switches


def sustain(subject: Subject, seconds: float, clocks: Clocks | None = None) -> Iterator[Sustained]:
    """Run on for so long, and say at each of at most 120 steps how fast it still is."""
    clocks = clocks or Clocks()
    start, step = clocks.wall_ns(), max(seconds / SUSTAINED, 0.1)
    calls = max(1, round(BLOCK_MS / warm_up(subject, clocks)))
    while (at := (clocks.wall_ns() - start) / 1e9) < seconds:
        record = Record(calls)
        while (clocks.wall_ns() - start) / 1e9 < at + step:
            _round(subject, record, len(record.rounds), max(1, round(100 / BLOCK_MS)), clocks)
        if record.walls and record.cpus:
            yield Sustained(
                at_s=round(at, 3),
                wall_p50_ms=_short(statistics.median(record.walls) / 1e6),
                cpu_p50_ms=_short(statistics.median(record.cpus)),
                temperature_c=conditions.temperature_c(),
                clock_mhz=conditions.clock_mhz(),
            )


def wall(record: Record, draws: int = _DRAWS) -> Spread:
    """How long inferences took."""
    return spread(np.asarray(record.walls, np.float64) / 1e6, record.rounds, draws)


def cpu(record: Record, draws: int = _DRAWS) -> Spread:
    """CPU time per inference, a measurement per block."""
    return spread(np.asarray(record.cpus, np.float64), record.cpu_rounds, draws)


def blocks(record: Record) -> Blocks:
    """Per round, what comparisons are made of."""
    walls, cpus = np.asarray(record.walls, np.float64) / 1e6, np.asarray(record.cpus, np.float64)
    return Blocks(
        calls=record.calls,
        cpu_ms=tuple(_short(float(cpus[a:b].mean())) for a, b in record.cpu_rounds),
        wall_ms=tuple(_short(float(np.median(walls[a:b]))) for a, b in record.rounds),
    )


def spread(times: NDArray[np.float64], rounds: Sequence[tuple[int, int]], draws: int = _DRAWS) -> Spread:
    """Describe times in milliseconds, ``rounds`` of which were measured together.

    The interval of the median is that of a bootstrap which draws whole rounds: times that follow each other are alike,
    and drawn one by one they would promise more than they know (Kunsch 1989, The jackknife and the bootstrap for
    general stationary observations, Annals of Statistics 17:1217-1241). Rounds that follow each other may be alike,
    too: by the correlation r of neighbours the interval is widened by the square root of (1 + r) / (1 - r), as the
    variance of a mean of a first-order autoregression is (Law, Simulation Modeling and Analysis, section 4.4).
    """
    p50 = float(np.median(times))
    return Spread(
        n=len(times),
        min_ms=_short(float(times.min())),
        p50_ms=_short(p50),
        p90_ms=_short(float(np.quantile(times, 0.9))) if len(times) >= ENOUGH[90] else None,
        p99_ms=_short(float(np.quantile(times, 0.99))) if len(times) >= ENOUGH[99] else None,
        mean_ms=_short(float(times.mean())),
        mad_ms=_short(float(np.median(np.abs(times - p50)))),
        p50_ci95_ms=_interval(times, rounds, p50, draws) if len(rounds) >= FEWEST_ROUNDS else None,
    )


def _interval(
    times: NDArray[np.float64], rounds: Sequence[tuple[int, int]], p50: float, draws: int
) -> tuple[float, float]:
    medians = np.asarray([np.median(times[a:b]) for a, b in rounds])
    rng = np.random.default_rng(0)
    drawn = np.median(medians[rng.integers(0, len(medians), (draws, len(medians)))], axis=1)
    wider = _inflation(medians)
    low, high = p50 + (np.quantile(drawn, (0.025, 0.975)) - np.median(medians)) * wider
    ends = np.clip((low, high), medians.min(), medians.max())
    return _short(min(p50, float(ends[0]))), _short(max(p50, float(ends[1])))


def _inflation(values: NDArray[np.float64]) -> float:
    """How much wider an interval is for values of which neighbours are alike; 1 where they are not."""
    centred = values - values.mean()
    power = float((centred**2).sum())
    if power <= 0:
        return 1.0
    # A correlation of n values is estimated too low by about (1 + 3 r) / n (Marriott, Pope 1954, Biometrika 41:390).
    found = float((centred[1:] * centred[:-1]).sum()) / power
    r = min(max(found + (1 + 3 * found) / len(values), 0.0), 0.95)
    return float(np.sqrt((1 + r) / (1 - r)))


def interruptions_per_s(record: Record) -> float:
    """Involuntary switches, per second in which inferences ran."""
    return record.switches / max(sum(record.walls) / 1e9, 1e-9)


def wall_over_cpu(record: Record) -> float:
    """Of the medians, per inference."""
    return statistics.median(record.walls) / 1e6 / max(statistics.median(record.cpus), 1e-9)


def _short(milliseconds: float) -> float:
    """Five digits: more than any clock here knows."""
    return float(f"{milliseconds:.5g}")
