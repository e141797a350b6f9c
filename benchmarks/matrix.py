"""Every zoo model x framework x target: convert, prove, and write one row per cell.

    python benchmarks/matrix.py [--models gpt bert] [--formats coreml tensorrt] [--jobs 2]

Each row is appended to ``benchmarks/results/matrix.jsonl`` as soon as it is measured; ``results_page.py`` makes the
README's matrix and RESULTS.md of them. No cell vanishes: an error is a row with its reason.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import results_page

import edgekit
from edgekit import target, zoo
from edgekit.errors import EdgekitError
from edgekit.jobs.host import host
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "matrix.jsonl"
FRAMEWORKS = ("keras", "torch")


def cell(model: str, framework: str, name: str, workers: Workers, store: Store, folder: Path) -> dict[str, Any]:
    """Run one cell and return its row."""
    row: dict[str, Any] = {"model": model, "framework": framework, "target": name}
    try:
        result = edgekit.convert(f"{model}@{framework}", name, output=folder, workers=workers, store=store)
    except EdgekitError as error:
        return row | {"status": error.code.upper(), "reason": str(error), "proof": "none"}
    row |= {"status": result.status, "reason": result.reason, "proof": result.proof.kind, "by": result.proof.by}
    row |= {"flags": list(result.flags), "route": result.route, "size_bytes": result.size_bytes}
    row |= {"float_size_bytes": result.float_size_bytes, "cpu_seconds": sum(result.cpu_seconds.values())}
    if result.parity:
        row |= {"sqnr_db": round(result.parity.sqnr_db, 2)}
    if a := result.accuracy:
        row |= {"metric": a.metric, "samples": a.samples, "float": a.float_, "artifact": a.artifact, "drop": a.drop}
        row |= {"drop_ci95": list(a.drop_ci95), "agreement": a.agreement}
    if t := result.latency:
        row |= {"latency_ratio": t.ratio, "latency_ci95": list(t.ratio_ci95), "verdict": t.verdict}
    return row


def group(model: str, framework: str, formats: list[str]) -> None:
    """Run all targets of one model and framework in one set of children; one JSON row per line on stdout."""
    with tempfile.TemporaryDirectory() as scratch, Workers() as workers:
        for name in target.names():
            if formats and target.load(name).format not in formats:
                continue
            row = cell(model, framework, name, workers, Store(), Path(scratch) / name)
            print(json.dumps(row), flush=True)


def commit() -> str:
    """The commit whose package is measured, marked where the package or the targets were changed since."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "edgekit", "targets"], cwd=ROOT).returncode
    return head.stdout.strip() + ("-dirty" if changed else "")


def run(models: list[str], formats: list[str], jobs: int) -> None:
    """Run all groups, ``jobs`` at a time, each in a process of its own; rows are kept as they come."""
    stamp = {"commit": commit(), "host": host().processor}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    writing = threading.Lock()

    def one(kind: tuple[str, str]) -> None:
        command = [sys.executable, __file__, "--group", *kind, "--formats", *formats]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for line in process.stdout or ():
            now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
            row = stamp | {"date": now} | json.loads(line)
            with writing, RESULTS.open("a") as stream:
                stream.write(json.dumps(row, sort_keys=True) + "\n")
            sqnr = f"{row['sqnr_db']:6.1f} dB" if "sqnr_db" in row else " " * 9
            cell = f"{row['model']:16} {row['framework']:6} {row['target']:26}"
            print(f"{cell} {row['status']:16} {sqnr} {row['reason'][:150]}", flush=True)
        if process.wait():
            raise RuntimeError(f"{kind} ended with exit code {process.returncode}: cells are missing")

    kinds = [(model, framework) for model in models for framework in FRAMEWORKS]
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, kinds))


def main() -> None:
    """Run, then write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=[], help="all by default")
    parser.add_argument("--formats", nargs="*", default=[], help="all by default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--group", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.group:
        group(*arguments.group, arguments.formats)
        return
    run(arguments.models or zoo.names(), arguments.formats, arguments.jobs)
    results_page.write()


if __name__ == "__main__":
    main()
