"""Latency of an artifact against its float twin: interleaved, in CPU time, on one thread.

Runs in the runtime's child. Two sessions take turns in short blocks, so that whatever else the machine does hits
both; CPU time leaves out the time in which other processes ran.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

from edgekit.proof.intervals import ratio_interval
from edgekit.result.speed import Latency

#: What is found here is true of this machine alone.
MEASURES = True

#: An interval wider than this share of the ratio is flagged NOISY.
NOISY_WIDTH = 0.3
#: CPU milliseconds that all blocks should take at most, and blocks below which the interval says too little. The
#: paper's U-Net takes 2.5 s per inference: 41 blocks of both files were three and a half minutes.
MOST_MS = 30_000.0
FEWEST_BLOCKS = 11


def cpu_seconds() -> float:
    """CPU time of this process, all its threads together.

    Not ``time.process_time``: of a process whose CPU time is limited, as that of a confined child is, Linux moves that
    clock on by ticks of milliseconds, which is longer than many a model takes.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _block(invoke: Callable[[], object], runs: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(runs):
        invoke()
    return (cpu_seconds() - cpu) * 1e3 / runs, (time.perf_counter() - wall) * 1e3 / runs


def _warm_up(invoke: Callable[[], object]) -> float:
    """Run at least six times and 20 ms, or 1 s; return the CPU milliseconds of the fastest of the last three."""
    spent = 0.0
    times: list[float] = []
    while (len(times) < 6 or spent < 20.0) and spent < 1000.0 and len(times) < 1000:
        cpu, wall = _block(invoke, 1)
        times.append(cpu)
        spent += wall
    return max(min(times[-3:]), 1e-3)


def _runs(once_ms: float, block_ms: float) -> int:
    """How many runs fill a block."""
    return max(1, min(1000, round(block_ms / once_ms)))


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
        blocks: blocks per side; fewer where they would take more than ``MOST_MS``, at least ``FEWEST_BLOCKS``.
        block_ms: CPU milliseconds that a block should take; a block is never shorter than one inference.
    """
    once = _warm_up(float_invoke), _warm_up(artifact_invoke)
    runs = (_runs(once[0], block_ms), _runs(once[1], block_ms))
    pair_ms = once[0] * runs[0] + once[1] * runs[1]
    blocks = min(blocks, max(FEWEST_BLOCKS, round(MOST_MS / pair_ms)))
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
        noisy=(high - low) > NOISY_WIDTH * ratio,
        blocks=blocks,
        runs_per_block=runs,
        wall_over_cpu=statistics.median(walls),
    )
