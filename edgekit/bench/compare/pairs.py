"""Two artifacts, measured side by side in fresh processes: what of their latency and memory differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgekit.bench.compare import timing
from edgekit.bench.compare.values import Finding, Limits, grown, not_compared
from edgekit.bench.row import Row
from edgekit.errors import EdgekitError

#: Measures files side by side in a fresh process: one row each, in their order.
Measure = Callable[[Sequence[Path]], list[Row]]
#: Seconds that measuring one pair may take, and runs in fresh processes that are enough.
SECONDS = 60.0
RUNS = 12


def measured(
    pair: Sequence[Path], limits: Limits, measure: Measure, seconds: float, progress: Callable[[str], None]
) -> list[Finding]:
    """Latency and memory of two artifacts, from runs in fresh processes until there are enough or the time is up."""
    quiet: list[tuple[Row, Row]] = []
    noisy: list[str] = []
    began, longest = time.monotonic(), 0.0
    while len(quiet) < RUNS and time.monotonic() - began + longest < seconds:
        started = time.monotonic()
        progress(f"run {len(quiet) + len(noisy) + 1} of both, side by side")
        # What is measured second in every block is not always the same one.
        turned = bool((len(quiet) + len(noisy)) % 2)
        try:
            one, other = measure([*pair][::-1] if turned else pair)
        except EdgekitError as error:
            return [not_compared(what, f"they cannot be measured: {error}") for what in ("latency", "memory")]
        old, new = (other, one) if turned else (one, other)
        longest = max(longest, time.monotonic() - started)
        if because := _disturbed(old, new):
            noisy.append(because)
        else:
            quiet.append((old, new))
    return [_timed(quiet, noisy, limits), _remembered(quiet, limits)]


def _disturbed(old: Row, new: Row) -> str:
    """Why a run says nothing, or an empty string."""
    for row in (old, new):
        if row.measured is None:
            return row.reason or "it was not measured"
        if row.measured.noisy:
            return row.measured.conditions.noisy_because[0]
    return ""


def _timed(quiet: Sequence[tuple[Row, Row]], noisy: Sequence[str], limits: Limits) -> Finding:
    ratios, before, after = [], [], []
    which, by = "cpu", ""
    for old, new in quiet:
        assert old.measured is not None
        assert new.measured is not None
        which, by = timing.clock(new.measured), new.measured.by
        ours, theirs = (timing.times(side.blocks, timing.clock(new.measured)) for side in (old.measured, new.measured))
        ratio = timing.run_ratio(ours, theirs)
        if ratio is None:
            return not_compared("latency", timing.BACKWARDS)
        ratios.append(ratio)
        before.append(float(sorted(ours)[len(ours) // 2]))
        after.append(float(sorted(theirs)[len(theirs) // 2]))
    found = timing.of_runs(ratios)
    if found is None:
        disturbed = f", {len(noisy)} were NOISY: {noisy[0]}" if noisy else ""
        return not_compared(
            "latency", f"{len(ratios)} undisturbed runs, at least {timing.FEWEST_RUNS} are needed{disturbed}"
        )
    unit = f"{which}_ms"
    return timing.finding(found, limits.slowdown, min(before), min(after), unit, f"side by side by {by}")


def _remembered(quiet: Sequence[tuple[Row, Row]], limits: Limits) -> Finding:
    pairs = [
        (old.measured.peak_rss_bytes, new.measured.peak_rss_bytes)
        for old, new in quiet
        if old.measured is not None and new.measured is not None
    ]
    known = [(old, new) for old, new in pairs if old and new]
    if not known:
        return not_compared("memory", "of files that share a process nothing says whose memory it is")
    before, after = (sorted(side)[len(side) // 2] for side in zip(*known, strict=True))
    return grown("memory", before, after, limits.memory)
