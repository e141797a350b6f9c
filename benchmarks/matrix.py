"""Every zoo model x framework x target: convert, prove, and write one row per cell.

    python benchmarks/matrix.py [--models gpt bert] [--formats coreml tensorrt] [--targets tflite-int4] [--jobs 2]
                                [--plan] [--again]

Each row is appended to ``benchmarks/results/matrix.jsonl`` as soon as it is measured; ``pages.py`` makes the README's
matrix and RESULTS.md of them. No cell vanishes: an error is a row with its reason. A run that was stopped goes on where
it was: cells that have a row of this very code, on this processor, are not made again (but with ``--again``), and of
the others the steps that the store has. ``--plan`` lists which they are, and runs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import edgekit
from benchmarks import cells, pages
from benchmarks.cells import Cell
from edgekit import api, pipeline, target
from edgekit.conversion.order import Order
from edgekit.errors import EdgekitError
from edgekit.jobs.host import host
from edgekit.jobs.interruption import listening
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.sources import source as sources

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "matrix.jsonl"


def made(cell: Cell, workers: Workers, store: Store, folder: Path) -> dict[str, Any]:
    """Run one cell and return its row."""
    row: dict[str, Any] = cell._asdict()
    try:
        result = edgekit.convert(cell.source, cell.target, output=folder, workers=workers, store=store)
    except EdgekitError as error:
        return row | {"status": error.code.upper(), "reason": str(error), "proof": "none"}
    row |= {"status": result.status, "reason": result.reason, "proof": result.proof.kind, "by": result.proof.by}
    row |= {"flags": list(result.flags), "route": result.route, "size_bytes": result.size_bytes}
    row |= {"float_size_bytes": result.float_size_bytes, "cpu_seconds": sum(result.cpu_seconds.values())}
    if result.parity:
        row |= {"sqnr_db": round(result.parity.sqnr_db, 2)}
        figures = {"variation_db": result.parity.variation_db, "channel_db": result.parity.channel_db}
        row |= {name: round(value, 2) for name, value in figures.items() if value is not None}
    if a := result.accuracy:
        row |= {"metric": a.metric, "samples": a.samples, "float": a.float_, "artifact": a.artifact, "drop": a.drop}
        row |= {"drop_ci95": list(a.drop_ci95), "agreement": a.agreement}
    if t := result.latency:
        row |= {"latency_ratio": t.ratio, "latency_ci95": list(t.ratio_ci95), "verdict": t.verdict}
    return row


def group() -> None:
    """Run cells of one model and framework, one per line of standard input, in one set of children; a row each."""
    with listening(), tempfile.TemporaryDirectory() as scratch, Workers() as workers:
        for number, line in enumerate(sys.stdin):
            print(json.dumps(made(Cell(*json.loads(line)), workers, Store(), Path(scratch) / str(number))), flush=True)


@functools.cache
def stamp() -> dict[str, str]:
    """What every row of this run says: the code that is measured (``code`` is exact, ``commit`` is for people), and where."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "edgekit", "targets"], cwd=ROOT).returncode
    commit = head.stdout.strip() + ("-dirty" if changed else "")
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "edgekit").rglob("*"), *(ROOT / "targets").glob("*.toml"), ROOT / "constraints.txt"]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return {"commit": commit, "code": digest.hexdigest(), "host": host().processor}


def measured() -> set[Cell]:
    """Cells that have a row of this very code, on this processor."""
    mine = stamp()
    rows = map(json.loads, RESULTS.read_text().splitlines() if RESULTS.exists() else ())
    return {
        Cell(row["model"], row["framework"], row["target"])
        for row in rows
        if (row.get("code"), row["host"]) == (mine["code"], mine["host"])
    }


class NotMadeError(Exception):
    """The store lacks a step."""


class Nobody(Workers):
    """Runs nothing."""

    def call(self, *_: object, **__: object) -> NoReturn:
        raise NotMadeError


def missing(cell: Cell, store: Store, *, latency: bool = True) -> str:
    """The first step of a cell that would have to be made; empty where the store has them all."""
    seen = ["load"]
    found = sources.resolve(cell.source)
    with Nobody() as nobody, tempfile.TemporaryDirectory() as scratch:
        samples, out = api.plan_for(found, None, None, "top1"), Path(scratch) / "out"
        order = Order(found, target.load(cell.target), samples, out, latency=latency)
        try:
            with store.lease() as lease:
                pipeline.explore(Run(nobody, lease, lambda _, label: seen.append(label)), order)
        except NotMadeError:
            return seen[-1]
        except EdgekitError:
            return ""  # refused in the end, by steps that are all there
    return ""


def plan(chosen: list[Cell]) -> None:
    """Say for each cell whether it would be made, and from which step on, or reused."""
    start, store, counts = time.monotonic(), Store(), Counter[str]()
    rows = measured()
    for cell in chosen:
        step = missing(cell, store)
        what = f"made, from {step} on" if step else "reused from the store"
        counts["made" if step else "reused"] += 1
        has = ", has a row of this code" if cell in rows else ""
        print(f"{cell.model:16} {cell.framework:6} {cell.target:26} {what}{has}", flush=True)
    each = ", ".join(f"{count} would be {word}" for word, count in sorted(counts.items()))
    print(f"{len(chosen)} cells: {each or 'none'} (store {store.root}, planned in {time.monotonic() - start:.0f} s)")


class Stopped:
    """Processes of groups, which end with this one."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._over = False

    def rows(self, chosen: list[Cell]) -> Iterator[dict[str, Any]]:
        """Run cells in a process of their own; their rows as they come."""
        with self._lock:
            if self._over:
                return
            command, pipe = [sys.executable, __file__, "--group"], subprocess.PIPE
            # In a session of its own: Ctrl-C is this process's, which ends them.
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, start_new_session=True)
            self._running.add(process)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("".join(json.dumps(cell) + "\n" for cell in chosen))
        process.stdin.close()
        yield from map(json.loads, process.stdout)
        code = process.wait()
        self._running.discard(process)
        if code and not self._over:
            raise RuntimeError(f"{chosen[0].source} ended with exit code {code}: cells are missing")

    def stop(self) -> None:
        """End all of them, and start no more."""
        with self._lock:
            self._over = True
            for process in self._running:
                process.send_signal(signal.SIGTERM)  # it ends its children
        for process in list(self._running):
            process.wait()


def run(chosen: list[Cell], jobs: int) -> None:
    """Run all cells, ``jobs`` models at a time, each in a process of its own; rows are kept as they come."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    writing, groups = threading.Lock(), Stopped()

    def one(kind: str) -> None:
        for found in groups.rows([cell for cell in chosen if cell.source == kind]):
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
            row = stamp() | {"date": now} | found
            with writing, RESULTS.open("a") as stream:
                stream.write(json.dumps(row, sort_keys=True) + "\n")
            sqnr = f"{row['sqnr_db']:6.1f} dB" if "sqnr_db" in row else " " * 9
            cell = f"{row['model']:16} {row['framework']:6} {row['target']:26}"
            print(f"{cell} {row['status']:16} {sqnr} {row['reason'][:150]}", flush=True)

    pool = ThreadPoolExecutor(jobs)
    try:
        for done in [pool.submit(one, kind) for kind in dict.fromkeys(cell.source for cell in chosen)]:
            done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        groups.stop()


def main() -> int:
    """Run, then write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=[], help="all by default")
    parser.add_argument("--formats", nargs="*", default=[], help="all by default")
    parser.add_argument("--targets", nargs="*", default=[], help="all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--plan", action="store_true", help="list what would be made, and run nothing")
    parser.add_argument("--again", action="store_true", help="also cells that have a row of this very code")
    parser.add_argument("--group", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.group:
        with contextlib.suppress(KeyboardInterrupt):  # the run was stopped
            group()
        return 0
    everything = cells.every(arguments.models, arguments.formats)
    chosen = [cell for cell in everything if not arguments.targets or cell.target in arguments.targets]
    if arguments.plan:
        plan(chosen)
        return 0
    left = [cell for cell in chosen if arguments.again or cell not in measured()]
    print(f"{len(left)} of {len(chosen)} cells; the others have a row of this code", flush=True)
    try:
        run(left, arguments.jobs)
    except KeyboardInterrupt:
        print("stopped; what was measured is kept, and the same command goes on from here", file=sys.stderr)
        return 130
    pages.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
