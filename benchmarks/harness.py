"""edgekit's harness against the vendors' own tools: the same file, measured in turns, ten cells; and what it costs itself.

    python -m benchmarks.harness measure [--pairs 20] [--cells 0 1 ...]      appends rows to results/harness.jsonl
    python -m benchmarks.harness page                                       rewrites HARNESS.md

A pair is edgekit's figure and the tool's, each from a fresh process, one after the other, in an order that changes from
pair to pair. LoadGen drives the same session in place of edgekit's loop. A pair in which edgekit found the machine
disturbed counts for nothing; a cell of which fewer than six are left is NOISY.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from benchmarks import rows
from edgekit.bench import measuring, stamp
from edgekit.jobs.store import Store, home
from edgekit.jobs.workers import Workers
from edgekit.proof.intervals import MIN_BLOCKS, ratio_interval
from edgekit.proof.speed import steady

RESULTS = rows.RESULTS / "harness.jsonl"
PAGE = Path(__file__).parent / "HARNESS.md"
BIN = Path(sys.executable).parent
#: The interval of the ratio shall lie within.
WITHIN = (0.97, 1.03)

#: Source, target, tool, and how many inferences take about two seconds.
CELLS = (
    ("mobilenet_v2:reference@torch", "openvino-fp32", "benchmark_app", 300),
    ("mobilenet_v2:reference@torch", "openvino-int8", "benchmark_app", 600),
    ("unet@torch", "openvino-fp32", "benchmark_app", 8000),
    ("bert@torch", "openvino-int8", "benchmark_app", 16000),
    ("mobilenet_v2:reference@torch", "tflite-fp32", "litert-benchmark", 300),
    ("mobilenet_v2:reference@torch", "tflite-int8", "litert-benchmark", 600),
    ("mobilenet_v3:reference@torch", "tflite-fp32", "litert-benchmark", 800),
    ("mobilenet_v2:reference@torch", "onnxruntime-fp32", "loadgen", 300),
    ("mobilenet_v2:reference@torch", "onnxruntime-int8", "loadgen", 600),
    ("gpt@torch", "onnxruntime-int8", "loadgen", 16000),
)


def artifact(source: str, target: str, workers: Workers) -> Path:
    """An artifact to measure; random weights of a paper's size need not pass a gate to be timed."""
    folder = home() / "harness" / f"{source.replace(':', '-')}-{target}"
    if not folder.exists():
        told: dict[str, Any] = {}
        if ":reference" in source:  # has no samples of its own; what calibrates it changes no time
            file = home() / "harness" / "pictures.npz"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, x=np.random.default_rng(0).standard_normal((8, 3, 224, 224), dtype=np.float32))
            told["calibrate"] = str(file)
        made = edgekit.convert(source, target, output=folder, workers=workers, store=Store(), latency=False, **told)
        folder = Path(made.artifact or made.rejected or "")
    return folder


def steadily(command: list[str]) -> tuple[str, list[tuple[float, float]]]:
    """A command's output, and what its process had spent on the CPU at moments of its life: (wall s, CPU s)."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    clock = (~process.pid << 3) | 2  # what clock_getcpuclockid(3) returns: nanoseconds, where ps has hundredths
    moments = []
    with ThreadPoolExecutor(1) as reader:
        output = reader.submit(process.stdout.read)  # type: ignore[union-attr]
        while process.poll() is None:
            with contextlib.suppress(OSError):  # it has just ended
                moments.append((time.monotonic(), time.clock_gettime(clock)))
            time.sleep(0.02)
        text = output.result()
    assert process.returncode == 0, text
    return text, moments


def by_tool(tool: str, file: Path, runs: int) -> dict[str, float]:
    """A tool's median in wall and in CPU milliseconds.

    Tools tell no CPU time. It is the median latency and what a call takes outside of the tool's clock (benchmark_app's
    does not see the Python call), times the share of the wall time that the process was on the CPU for in steady state.
    """
    if tool == "benchmark_app":
        settings = ["-hint", "none", "-api", "sync", "-nthreads", "1", "-nstreams", "1", "-infer_precision", "f32"]
        command = [f"{BIN}/benchmark_app", "-m", str(file), "-d", "CPU", *settings, "-niter", str(runs)]
        named = {
            "median": r"Median:\s+([\d.]+ [um]s)",
            "mean": r"Average:\s+([\d.]+ [um]s)",
            "all": r"Duration:\s+([\d.]+ ms)",
        }
    else:
        command = [f"{BIN}/litert-benchmark", "--model", str(file), "--num_threads", "1", "--num_runs", str(runs)]
        named = {"median": r"Inference \(median\):\s+([\d.]+ ms)", "mean": r"Inference \(avg\):\s+([\d.]+ ms)"}
    text, moments = steadily(command)
    told = {}
    for name, pattern in named.items():
        found = re.search(pattern, text)
        assert found, text
        value, unit = found[1].split()
        told[name] = float(value) / (1e3 if unit == "us" else 1)
    lasted, end = told.get("all", told["mean"] * runs), moments[-1][0]
    within = [moment for moment in moments if end - 0.8 * lasted / 1e3 < moment[0] < end - 0.3 * lasted / 1e3]
    share = (within[-1][1] - within[0][1]) / (within[-1][0] - within[0][0])
    return {"wall_ms": told["median"], "cpu_ms": (told["median"] + lasted / runs - told["mean"]) * share}


def ours(folder: Path, engine: str = "edgekit") -> dict[str, Any]:
    """edgekit's medians of a file."""
    asked = measuring.Asked(seconds=1.5, profile=False, yardstick=False, engine=engine)  # type: ignore[arg-type]
    [row] = measuring.measure([folder], asked)
    assert row.measured is not None, row.reason
    found = row.measured
    return {"wall_ms": found.wall.p50_ms, "cpu_ms": found.cpu.p50_ms, "noisy": list(found.conditions.noisy_because)}


def measured(source: str, target: str, tool: str, runs: int, pairs: int, workers: Workers) -> dict[str, Any]:
    """A cell's row."""
    folder = artifact(source, target, workers)
    manifest = json.loads((folder / "manifest.json").read_text())
    [part] = manifest["parts"].values()
    mine, theirs = [], []
    for number in range(pairs):
        tried = {}
        for side in ("mine", "theirs")[:: 1 if number % 2 else -1]:
            if side == "mine":
                tried[side] = ours(folder)
            else:
                tried[side] = (
                    ours(folder, "loadgen") if tool == "loadgen" else by_tool(tool, folder / part["file"], runs)
                )
        mine.append(tried["mine"])
        theirs.append(tried["theirs"])
    sound = [pair for pair in zip(mine, theirs, strict=True) if not pair[0]["noisy"]]
    row: dict[str, Any] = {
        "source": source, "target": target, "tool": tool, "pairs": pairs, "sound": len(sound),
        "edgekit": mine, "theirs": theirs,
    }  # fmt: skip
    if len(sound) >= MIN_BLOCKS:
        for kind in ("cpu_ms", "wall_ms"):
            row[f"{kind[:-3]}_ratio"] = ratio_interval(
                *([side[kind] for side in column] for column in zip(*sound, strict=True))
            )
    return row


def overhead() -> dict[str, float]:
    """What the loop adds around a function that does nothing, to wall times and to CPU times."""
    subject = steady.Subject(lambda: None)
    [record] = steady.measure([subject], seconds=1.0)
    return {"wall_us": statistics.median(record.walls) / 1e3, "cpu_us": statistics.median(record.cpus) * 1e3}


def page() -> None:
    """Write the table of the newest rows."""
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    newest = {(row.get("source"), row.get("target")): row for row in lines}
    costs = newest.pop((None, None), None)
    text = [
        "# edgekit's harness against the vendors' own tools",
        "",
        "Written by `python -m benchmarks.harness page` from `results/harness.jsonl`; how is said in that script. Ratio of",
        "edgekit's median to the tool's, with its 95 % interval over pairs; one thread. It shall lie within"
        f" [{WITHIN[0]}, {WITHIN[1]}].",
        "",
        "| model | target | tool | edgekit CPU ms | theirs | CPU time, ratio | wall time, ratio | pairs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in newest.values():
        middle = [f"{statistics.median(side['cpu_ms'] for side in row[who]):.4g}" for who in ("edgekit", "theirs")]
        shown = []
        for kind in ("cpu_ratio", "wall_ratio"):
            found = row.get(kind)
            shown.append(f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})" if found else "NOISY")
        cells = (row["source"], f"`{row['target']}`", row["tool"], *middle, *shown, f"{row['sound']} of {row['pairs']}")
        text.append(f"| {' | '.join(map(str, cells))} |")
    ratios = [row["cpu_ratio"] for row in newest.values() if "cpu_ratio" in row]
    inside = sum(WITHIN[0] <= low and high <= WITHIN[1] for _, low, high in ratios)
    text += [
        "",
        f"The interval of the CPU time's ratio lies within in {inside} of {len(newest)} files. LoadGen's own work for each",
        "query counts as the file's there: some microseconds, which a file of a tenth of a millisecond shows. benchmark_app's",
        "clock does not see the Python call, edgekit's does: the wall time of small files differs by it.",
    ]
    if costs is not None:
        text += [
            "",
            f"Around a function that does nothing the loop adds {costs['wall_us']:.2f} us to a wall time and "
            f"{costs['cpu_us']:.2f} us to a CPU time, all that it does between inferences included (bar: 5).",
        ]
    PAGE.write_text("\n".join(text) + "\n")


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("what", choices=("measure", "page"))
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--cells", type=int, nargs="+", default=list(range(len(CELLS))))
    given = parser.parse_args()
    if given.what == "page":
        page()
        return
    with Workers() as workers:
        for source, target, *_ in CELLS:
            artifact(source, target, workers)  # all conversions before the first figure
    stamped = {"commit": stamp.code().commit, "at": stamp.now(), "fingerprint": stamp.fingerprint()}
    found = [overhead()]
    keep(stamped | found[0])
    with Workers() as workers:
        for number in given.cells:
            keep(stamped | measured(*CELLS[number], given.pairs, workers))
    page()


def keep(row: dict[str, Any]) -> None:
    """Add a row."""
    with RESULTS.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    print(json.dumps({key: value for key, value in row.items() if key not in ("edgekit", "theirs")}), flush=True)


if __name__ == "__main__":
    main()
