"""Latency of an artifact against its float twin: interleaved, in CPU time, on one thread.

Runs in the runtime's child. Two sessions take turns in short blocks, so that whatever else the machine does hits
both; CPU time leaves out the time in which other processes ran.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgekit.intervals import ratio_interval

Verdict = Literal["FASTER", "SAME", "SLOWER", "TOO_SMALL_TO_TELL"]

#: A float twin below this is dominated by the call itself.
SMALLEST_FLOAT_MS = 0.2
#: The artifact is called slower only where even the lower bound of the ratio says so.
SLOWER_THAN = 1.05
#: An interval wider than this share of the ratio is flagged NOISY.
NOISY_WIDTH = 0.3


@dataclass(frozen=True)
class Latency:
    """Medians over blocks of CPU milliseconds per inference, and of the ratio artifact / float of two paired blocks."""

    float_cpu_ms: float
    artifact_cpu_ms: float
    ratio: float
    ratio_ci95: tuple[float, float]
    verdict: Verdict
    noisy: bool
    blocks: int
    runs_per_block: tuple[int, int]
    wall_over_cpu: float


def _block(invoke: Callable[[], object], runs: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(runs):
        invoke()
    return (time.process_time() - cpu) * 1e3 / runs, (time.perf_counter() - wall) * 1e3 / runs


def _runs_for(invoke: Callable[[], object], block_ms: float) -> int:
    """Warm up (at least 3 runs and 20 ms), then choose how many runs fill a block."""
    spent, runs = 0.0, 0
    while runs < 3 or (spent < 20.0 and runs < 1000):
        spent += _block(invoke, 1)[1]
        runs += 1
    fastest = min(_block(invoke, 1)[0] for _ in range(3))
    return max(1, min(1000, round(block_ms / max(fastest, 1e-3))))


def measure(
    float_invoke: Callable[[], object],
    artifact_invoke: Callable[[], object],
    *,
    blocks: int = 41,
    block_ms: float = 8.0,
) -> Latency:
    """Time two functions in turns.

    Args:
        float_invoke: one inference of the float twin.
        artifact_invoke: one inference of the artifact.
        blocks: blocks per side.
        block_ms: CPU milliseconds that a block should take; a block is never shorter than one inference.
    """
    runs = _runs_for(float_invoke, block_ms), _runs_for(artifact_invoke, block_ms)
    floats: list[float] = []
    artifacts: list[float] = []
    walls: list[float] = []
    for index in range(blocks):
        order = (0, 1) if index % 2 == 0 else (1, 0)
        for side in order:
            cpu, wall = _block((float_invoke, artifact_invoke)[side], runs[side])
            (floats, artifacts)[side].append(cpu)
            walls.append(wall / cpu if cpu else 1.0)
    ratio, low, high = ratio_interval(artifacts, floats)
    return Latency(
        float_cpu_ms=statistics.median(floats),
        artifact_cpu_ms=statistics.median(artifacts),
        ratio=ratio,
        ratio_ci95=(low, high),
        verdict=_verdict(statistics.median(floats), low, high),
        noisy=(high - low) > NOISY_WIDTH * ratio,
        blocks=blocks,
        runs_per_block=runs,
        wall_over_cpu=statistics.median(walls),
    )


def _verdict(float_ms: float, low: float, high: float) -> Verdict:
    if float_ms < SMALLEST_FLOAT_MS:
        return "TOO_SMALL_TO_TELL"
    if low > SLOWER_THAN:
        return "SLOWER"
    return "FASTER" if high < 1.0 else "SAME"
