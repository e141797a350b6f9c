"""What running a suite takes: side by side, one after another, and by other groupings of the same cells.

    python -m benchmarks.suite_speed [--repeats 1] [--ways side_by_side one_after_another ...]

Each way converts ``CELLS`` into an empty store, in a process of its own, in random order. Rows are appended to
``benchmarks/results/suite_speed.jsonl``: wall and CPU seconds, and the peak of the memory that is resident in all
processes together (what they share counts in each). ``again`` is the suite ``cpu`` with a row of this code for each of
its cells.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import rows
from edgekit.bench import converting, running, suite
from edgekit.bench import rows as files
from edgekit.bench.row import Cell
from edgekit.jobs import processes
from edgekit.jobs.store import home

RESULTS = rows.RESULTS / "suite_speed.jsonl"
ROOT = Path(__file__).parent.parent
CONVERT = """
import sys, edgekit, pathlib
edgekit.convert(*sys.argv[1:3], output=pathlib.Path(sys.argv[3]), latency=False)
"""
#: A suite has hundreds of cells: of a dozen, what a lane's children import first would be most of it.
CELLS = [
    Cell(model=model, framework=framework, target=target)
    for model, framework, target in itertools.product(
        ("lenet5", "mlp", "mobilenet_v2", "lstm_classifier"),
        ("keras", "torch"),
        (
            "tflite-fp32",
            "tflite-int8-dynamic",
            "onnxruntime-fp32",
            "onnxruntime-int8",
            "openvino-int8",
            "executorch-fp32",
        ),
    )
]


def side_by_side() -> None:
    """Two lanes, whose children stay for all models."""
    running.run(CELLS, running.Options(home() / "rows.jsonl", jobs=2, latency=False))


def one_after_another() -> None:
    """One lane."""
    running.run(CELLS, running.Options(home() / "rows.jsonl", jobs=1, latency=False))


def of_each_model() -> None:
    """One lane, with new children for each model and framework."""
    for _, own in itertools.groupby(CELLS, key=converting.source_of):
        running.run(list(own), running.Options(home() / "rows.jsonl", jobs=1, latency=False))


def fresh_processes() -> None:
    """One process per cell, one after another, on the same store."""
    for cell in CELLS:
        given = [converting.source_of(cell), str(cell.target), str(home() / "out")]
        subprocess.run([sys.executable, "-c", CONVERT, *given], check=True)


def again() -> None:
    """Nothing has changed."""
    command = [sys.executable, "-m", "edgekit", "benchmark", "--suite", "cpu", "--no-latency", "--json"]
    subprocess.run([*command, "--rows", str(home() / "again.jsonl")], stdout=subprocess.DEVNULL, check=True)


WAYS = {way.__name__: way for way in (side_by_side, one_after_another, of_each_model, fresh_processes)}


def measured(way: str, folder: Path) -> dict[str, Any]:
    """Run a way in a process of its own."""
    environment = {**os.environ, "EDGEKIT_HOME": str(folder)}
    before, start = psutil.Process().cpu_times(), time.monotonic()
    busy = psutil.cpu_times()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.suite_speed", "--way", way], cwd=ROOT, env=environment
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, processes.resident(psutil.Process(process.pid)))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{way} ended with exit code {process.returncode}")
    wall = time.monotonic() - start
    after, total = psutil.Process().cpu_times(), psutil.cpu_times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    everything = total.user + total.system + total.nice - busy.user - busy.system - busy.nice
    return {
        "way": way, "cells": len(CELLS), "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "peak_rss_bytes": peak,
        "cpu_s_of_others": round(max(0.0, everything - cpu), 2), "cores": psutil.cpu_count(),
    }  # fmt: skip


def measured_again(folder: Path) -> dict[str, Any]:
    """The suite ``cpu`` where every cell has a row; that of a cell which was just made stands for all."""
    [row, *_] = files.read(folder / "rows.jsonl")
    cells = suite.load("cpu").cells()
    files.append(folder / "again.jsonl", [row.model_copy(update={"cell": cell}) for cell in cells])
    found = measured("again", folder)
    return found | {"cells": len(cells), "ms_per_cell": round(1000 * found["wall_s"] / len(cells), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--way", choices=[*WAYS, "again"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        {**WAYS, "again": again}[arguments.way]()
        return
    ways = arguments.ways
    for number in range(arguments.repeats):
        for way in random.sample(ways, len(ways)):
            with tempfile.TemporaryDirectory() as folder:
                found = [measured(way, Path(folder))]
                if way == "side_by_side":
                    found.append(measured_again(Path(folder)))
            for row in found:
                line = {**row, **rows.stamp(), "repeat": number}
                print(json.dumps(line), flush=True)
                with RESULTS.open("a") as stream:
                    stream.write(json.dumps(line, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
