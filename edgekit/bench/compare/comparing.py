"""From two sides to a comparison: cells are matched, and none is dropped in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.bench.compare import pairs, sampled, scores, sides, timing
from edgekit.bench.compare.pairs import Measuring
from edgekit.bench.compare.sides import Side
from edgekit.bench.compare.values import Compared, Comparison, Finding, Limits, concluded, grown, not_compared
from edgekit.bench.measuring import Asked
from edgekit.bench.row import Row
from edgekit.jobs.workers import Workers
from edgekit.proof.intervals import MIN_BLOCKS
from edgekit.result import Accuracy


def compare(
    old: Path,
    new: Path,
    limits: Limits | None = None,
    *,
    asked: Asked | None = None,
    how: Measuring | None = None,
) -> Comparison:
    """Compare two rows files, two artifacts or model files, or one of each.

    Args:
        old: a file of rows, an artifact's folder or a model file.
        new: likewise.
        limits: how much worse NEW may be.
        asked: how files are opened.
        how: two files are executed; None: they are not, and their manifests speak for them.

    Raises:
        UsageError, UnsafeInputError: see ``sides.read``.
    """
    limits, asked = limits or Limits(), asked or Asked()
    with Workers() as workers:
        before, after = (sides.read(path, workers, asked) for path in (old, new))
        if before.subject is not None and after.subject is not None:
            cells: tuple[Compared, ...] = (_files(before, after, limits, how, workers),)
        else:
            cells = tuple(_cells(before, after, limits))
    return concluded(before.given, after.given, limits, cells, before.notes + after.notes)


def _cells(old: Side, new: Side, limits: Limits) -> list[Compared]:
    """Cells of both, in the order of NEW; then those of OLD alone, unless NEW is an artifact, which has one."""
    pairs_ = {cell: (old.rows[cell], row) for cell, row in new.rows.items() if cell in old.rows}
    runs = timing.between([ratio for pair in pairs_.values() if (ratio := _moved(*pair)) is not None])
    found = []
    for cell in new.rows:
        if cell in pairs_:
            found.append(of_rows(*pairs_[cell], limits, runs))
        else:
            found.append(Compared(cell=cell, findings=(not_compared("status", f"{old.given} has no such cell"),)))
    gone = [cell for cell in old.rows if cell not in new.rows and new.subject is None]
    found += [Compared(cell=cell, findings=(not_compared("status", f"{new.given} has no such cell"),)) for cell in gone]
    return found


def of_rows(old: Row, new: Row, limits: Limits, runs: timing.Between = timing.UNKNOWN) -> Compared:
    """Two rows of one cell; ``runs`` says how much medians move by chance."""
    one_file = old.made.sha256 is not None and old.made.sha256 == new.made.sha256
    found = (
        status(old, new),
        scores.compare(old.accuracy, new.accuracy, limits, one_file=one_file),
        latency(old, new, limits, runs),
        size(old, new, limits),
        memory(old, new, limits),
    )
    return Compared(cell=new.cell, findings=found)


def _files(old: Side, new: Side, limits: Limits, how: Measuring | None, workers: Workers) -> Compared:
    """Two artifacts or model files, of one cell or not."""
    assert old.subject is not None
    assert new.subject is not None
    before, after = old.subject.row, new.subject.row
    others = "" if old.test_sha256 == new.test_sha256 else "the manifests name test samples of another content"
    one_file = list(old.model_files.values()) == list(new.model_files.values())
    reason = "one and the same model file" if one_file else "not measured: nobody asked for it"
    timed = not_compared("latency", reason), not_compared("memory", reason)
    accuracy = scores.compare(before.accuracy, after.accuracy, limits, one_file=one_file, other_samples=others)
    if how is not None and not one_file:
        change = sampled.paired(old, new, workers, how.progress)
        if isinstance(change, Accuracy):
            accuracy = scores.judged(change, limits, "paired sample by sample")
        timed = pairs.compare(old.subject, new.subject, limits, how)
    found = (status(before, after), accuracy, timed[0], size(before, after, limits), timed[1])
    return Compared(cell=after.cell, findings=found)


def status(old: Row, new: Row) -> Finding:
    """Whether what passed still passes."""
    if old.status == new.status:
        return Finding(what="status", verdict="SAME", reason=f"{new.status} as before")
    change = f"{old.status} before, now {new.status}" + (f": {new.reason}" if new.reason else "")
    if old.status == "PASS":
        return Finding(what="status", verdict="WORSE", reason=change)
    if new.status == "PASS":
        return Finding(what="status", verdict="BETTER", reason=change)
    return not_compared("status", change)


def latency(old: Row, new: Row, limits: Limits, runs: timing.Between) -> Finding:
    """Of two rows, where they were measured alike on one machine that was not disturbed."""
    if reason := _unlike(old, new):
        return not_compared("latency", reason)
    before, after = old.measured, new.measured
    assert before is not None
    assert after is not None
    which = timing.clock(before)
    ratio = timing.ratio_of(timing.times(before.blocks, which), timing.times(after.blocks, which), runs)
    assert ratio is not None
    ours, theirs = (one.cpu.p50_ms if which == "cpu" else one.wall.p50_ms for one in (before, after))
    return timing.finding(ratio, limits.slowdown, ours, theirs, f"{which}_ms", "one run of each, at different times")


def _moved(old: Row, new: Row) -> float | None:
    """The ratio of the medians of two rows; None where they cannot be compared."""
    if old.measured is None or new.measured is None or _unlike(old, new):
        return None
    which = timing.clock(old.measured)
    before, after = (float(np.median(timing.times(one.measured.blocks, which))) for one in (old, new) if one.measured)
    return after / before


def _unlike(old: Row, new: Row) -> str:
    """Why the latencies of two rows cannot be compared; empty where they can."""
    before, after = old.measured, new.measured
    if before is None or after is None:
        missing = " and ".join(name for name, one in (("OLD", before), ("NEW", after)) if one is None)
        return f"{missing} was not timed"
    if old.fingerprint is None or old.fingerprint != new.fingerprint:
        return "measured on another machine, or on one that was changed since"
    for name, a, b in (
        ("harness", old.code.harness, new.code.harness),
        ("unit", before.unit, after.unit),
        ("threads", before.threads, after.threads),
        ("pinned cores", len(before.pinned_cpus), len(after.pinned_cpus)),
        ("engine", before.engine, after.engine),
        ("inputs", before.inputs, after.inputs),
        ("steps", before.steps, after.steps),
    ):
        if a != b:
            return f"measured in another way: {name} {a} before, now {b}"
    for name, one in (("OLD", before), ("NEW", after)):
        if one.noisy:
            return f"{name} is NOISY: {one.conditions.noisy_because[0]}"
    if old.at == new.at and before == after:
        return f"NEW is the measurement of OLD, of {old.at}"
    blocks = [timing.times(one.blocks, timing.clock(before)) for one in (before, after)]
    if any(len(some) and some.min() <= 0 for some in blocks):
        return timing.BACKWARDS
    return "too few blocks were measured" if min(map(len, blocks)) < MIN_BLOCKS else ""


def size(old: Row, new: Row, limits: Limits) -> Finding:
    """Of the files; known exactly."""
    return grown("size", old.made.size_bytes, new.made.size_bytes, limits.growth)


def memory(old: Row, new: Row, limits: Limits) -> Finding:
    """The largest memory of the process that ran the file, on one machine."""
    before, after = (row.measured.peak_rss_bytes if row.measured else None for row in (old, new))
    if before is not None and after is not None and old.fingerprint != new.fingerprint:
        return not_compared("memory", "measured on another machine, or on one that was changed since")
    return grown("memory", before, after, limits.memory)
