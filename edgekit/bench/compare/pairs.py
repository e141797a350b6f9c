"""Two files, measured side by side in fresh processes: what of their latency and memory differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgekit.bench import measuring
from edgekit.bench.compare import timing
from edgekit.bench.compare.values import Finding, Limits, grown, not_compared
from edgekit.bench.measuring import Asked, Subject
from edgekit.devices.device import HERE
from edgekit.errors import FailedError
from edgekit.proof.speed.measurement import Measured

Progress = Callable[[str, str], None]
#: Measures files side by side in one fresh process, in their order.
Measure = Callable[[Sequence[Subject]], Sequence[Measured]]
#: Seconds that measuring one pair may take, and runs in fresh processes that are enough.
SECONDS, RUNS = 60.0, 12
#: Seconds that each file is timed for in one run: what a process decides by chance is averaged over runs alone.
IN_A_RUN = 1.0


@dataclass(frozen=True)
class Measuring:
    """How pairs are measured.

    Attributes:
        measure: in one process.
        seconds: that one pair may take.
        progress: is told what runs.
    """

    measure: Measure
    seconds: float = SECONDS
    progress: Progress = lambda event, label: None


def here(asked: Asked, seconds: float, progress: Progress) -> Measuring:
    """Measure on this machine."""
    asked = replace(asked, seconds=IN_A_RUN, profile=False, yardstick=False)

    def measure(subjects: Sequence[Subject]) -> Sequence[Measured]:
        if len(subjects) == 1:
            row = measuring.alone(subjects[0], asked, HERE, progress)
            if row.measured is None:
                raise FailedError(f"{subjects[0].path}: {row.reason}")
            return [row.measured]
        reasons: list[str] = []

        def tell(event: str, label: str) -> None:
            (reasons.append(label) if event == "note" else progress(event, label))

        found = measuring.in_turns(subjects, asked, HERE, tell)
        if found is None:
            raise FailedError("; ".join(reasons))
        return found

    return Measuring(measure, seconds, progress)


def compare(old: Subject, new: Subject, limits: Limits, how: Measuring) -> tuple[Finding, Finding]:
    """Latency and memory; runs are repeated until there are enough or the time is up."""
    quiet: list[tuple[Measured, Measured]] = []
    noisy: list[str] = []
    began, longest = time.monotonic(), 0.0
    try:
        [before], [after] = how.measure([old]), how.measure([new])
        while len(quiet) < RUNS and time.monotonic() - began + longest < how.seconds:
            started = time.monotonic()
            # Which of the two is opened first, and lies first in memory, changes from run to run.
            turned = bool((len(quiet) + len(noisy)) % 2)
            first, second = how.measure([new, old] if turned else [old, new])
            pair = (second, first) if turned else (first, second)
            because = [side.conditions.noisy_because[0] for side in pair if side.noisy]
            (noisy.append(because[0]) if because else quiet.append(pair))
            longest = max(longest, time.monotonic() - started)
    except FailedError as error:
        reason = f"they cannot be measured side by side: {error}"
        return not_compared("latency", reason), not_compared("memory", reason)
    return _timed(quiet, noisy, limits), grown("memory", before.peak_rss_bytes, after.peak_rss_bytes, limits.memory)


def _timed(quiet: Sequence[tuple[Measured, Measured]], noisy: Sequence[str], limits: Limits) -> Finding:
    ratios = []
    for old, new in quiet:
        which = timing.clock(new)
        ratio = timing.run_ratio(timing.times(old.blocks, which), timing.times(new.blocks, which))
        if ratio is None:
            return not_compared("latency", timing.BACKWARDS)
        ratios.append(ratio)
    found = timing.of_runs(ratios)
    if found is None:
        disturbed = f"; {len(noisy)} more were NOISY, the last because {noisy[-1]}" if noisy else ""
        needed = f"{len(ratios)} undisturbed runs in the time given, {timing.FEWEST_RUNS} are needed"
        return not_compared("latency", needed + disturbed)
    which = timing.clock(quiet[0][1])
    before, after = (
        sorted((side.cpu if which == "cpu" else side.wall).p50_ms for side in sides)[len(quiet) // 2]
        for sides in zip(*quiet, strict=True)
    )
    by = f"runs side by side in fresh processes, {quiet[0][1].by}"
    return timing.finding(found, limits.slowdown, before, after, f"{which}_ms", by)
