"""`edgekit benchmark --suite`: a suite's cells, row by row as they come, and what became of them all."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edgekit.bench import converting, running, suite
from edgekit.bench import rows as files
from edgekit.bench.measuring import Asked
from edgekit.bench.row import Cell, Row
from edgekit.bench.running import Half, Options, Step
from edgekit.cli.columns import columns
from edgekit.cli.printing import EXIT, print_json, say
from edgekit.errors import UsageError, printable
from edgekit.jobs import interruption
from edgekit.jobs.store import Store

#: Where rows go by default, in the current folder.
ROWS = Path("edgekit-benchmarks")


def run(
    name: str,
    *,
    rows: Path | None,
    asked: Asked,
    executor: str | None = None,
    jobs: int = 0,
    shard: str | None = None,
    fresh: bool = False,
    plan: bool = False,
    latency: bool = True,
    as_json: bool = False,
) -> int:
    """Run a suite, or say what running it would take; returns the exit code: 6 where a cell FAILED."""
    found = suite.load(name)
    cells = suite.shard(found.cells(), shard) if shard else found.cells()
    file = rows or ROWS / f"{found.name}.jsonl"
    timed = found.latency and latency
    if jobs < 0:
        raise UsageError(f"--jobs {jobs} is below 0", hint="Give how many conversions run side by side.")
    if plan:
        return _plan(cells, file, latency=timed, as_json=as_json)
    start = time.monotonic()
    with _told() as (begins, told):
        options = Options(file, jobs=jobs, latency=timed, fresh=fresh, asked=asked, begins=begins, told=told, say=say)
        made = _run(cells, options, executor)
    return _end(made, file, time.monotonic() - start, as_json=as_json)


def _run(cells: list[Cell], options: Options, executor: str | None) -> list[Row]:
    if executor is None:
        return running.run(cells, options)
    if executor != "ray" and not executor.startswith("ray://"):
        raise UsageError(
            f"--executor {executor!r} is neither ray nor ray://head:port", hint="Leave it out to run here."
        )
    from edgekit.bench.on_ray import OnRay

    with OnRay(None if executor == "ray" else executor) as over:
        return running.run(cells, options, over)


def _end(made: list[Row], file: Path, seconds: float, *, as_json: bool) -> int:
    bad = [row for row in made if row.status == "FAILED"]
    status = "FAILED" if bad else "PASS"
    reason = f"{len(bad)} of {len(made)} cells FAILED; the first: {bad[0].cell}: {bad[0].reason}" if bad else ""
    if as_json:
        rows = [row.to_json() for row in made]
        print_json({"schema": 1, "status": status, "reason": reason, "file": str(file), "rows": rows})
        return EXIT[status]
    interruption.finish()
    sys.stdout.write(columns([_line(row) for row in made]))
    counts = Counter(row.status for row in made)
    sys.stdout.write(f"\n{len(made)} cells: {', '.join(f'{n} {word}' for word, n in counts.most_common())}\n")
    sys.stdout.write(f"rows are in {printable(str(file))} ({seconds:.0f} s)\n")
    return EXIT[status]


def _line(row: Row) -> dict[str, Any]:
    """One cell as a person reads it, what may be long last."""
    measured = row.measured
    return {
        "model": row.cell.model,
        "from": row.cell.framework,
        "target": row.cell.target,
        "status": row.status if row.proof.kind != "stand-in" else f"{row.status} (stand-in: {row.proof.by})",
        "SQNR dB": f"{row.parity.sqnr_db:.1f}" if row.parity else "",
        "drop": f"{row.accuracy.drop:+.4f}" if row.accuracy else "",
        "bytes": row.made.size_bytes,
        "CPU ms": f"{measured.cpu.p50_ms:.3g}" if measured else "",
        "flags": ", ".join(row.flags),
        "reason": " ".join(row.reason.split())[:150],
    }


@contextlib.contextmanager
def _told() -> Iterator[tuple[Callable[[Half, int], None], Callable[[Step], None]]]:
    """A line on stderr for each cell; on a terminal a bar with the time left, too."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    tasks: dict[Half, TaskID] = {}

    def begin(half: Half, of: int) -> None:
        if of:
            tasks[half] = bar.add_task(half, total=of)

    def tell(step: Step) -> None:
        bar.update(tasks[step.half], completed=step.done)
        row = step.row
        text = [str(row.cell), row.status, *row.flags]
        if step.half == "measured" and row.measured:
            text.append(f"{row.measured.cpu.p50_ms:.3g} ms CPU")
        console.out(printable("  ".join([*text, " ".join(row.reason.split())[:150]]).rstrip()))

    with bar:
        yield begin, tell


def _plan(cells: list[Cell], file: Path, *, latency: bool, as_json: bool) -> int:
    """Say of each cell whether it has a row of this code, and if not from which step on it would be made."""
    start, store = time.monotonic(), Store()
    known = files.newest(files.read(file, say)) if file.exists() else {}
    done = {cell for cell, row in known.items() if converting.is_of_this_code(row)}
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for cell in cells:
            step = "" if cell in done else converting.missing(cell, store, Path(scratch) / "out", latency=latency)
            lines.append({**cell.model_dump(), "has_row": cell in done, "made_from": step or None})
    made = sum(line["made_from"] is not None for line in lines)
    if as_json:
        print_json({"schema": 1, "status": "PASS", "reason": "", "file": str(file), "cells": lines})
        return 0
    interruption.finish()
    shown = [
        {
            "model": line["model"],
            "from": line["framework"],
            "target": line["target"],
            "plan": "has a row of this code"
            if line["has_row"]
            else f"made, from {line['made_from']} on"
            if line["made_from"]
            else "reused from the store",
        }
        for line in lines
    ]
    sys.stdout.write(columns(shown))
    held, rest = sum(line["has_row"] for line in lines), len(lines) - made
    sys.stdout.write(
        f"\n{len(lines)} cells: {made} would be made, {rest} not, {held} of them for they have a row of this code "
        f"(store {store.root}, planned in {time.monotonic() - start:.0f} s)\n"
    )
    return 0
