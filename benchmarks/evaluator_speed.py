"""How long the ML Program evaluator takes per sample of the tiny ``mobilenet_v2`` (bar: at most 50 ms).

    python benchmarks/evaluator_speed.py [MODEL ...]

Converts from both frameworks to all Core ML targets (or takes what the store has), runs one sample 51 times and appends
one row per file to ``benchmarks/results/evaluator.jsonl``: medians of CPU and wall milliseconds.
"""

import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import edgekit
from edgekit import mil
from edgekit.jobs.host import host
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

RESULTS = Path(__file__).parent / "results" / "evaluator.jsonl"
TARGETS = ("coreml-fp32", "coreml-fp16", "coreml-int8-weights", "coreml-int8")
RUNS = 51


def measure(package: Path) -> dict[str, float | int]:
    program = mil.load(package)
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.random(kind.shape, np.float32) if kind.element.dtype.kind == "f" else np.ones(kind.shape, np.int32)
        for name, kind in program.inputs.items()
    }
    program.run(inputs)  # the first run prepares constants
    cpu, wall = [], []
    for _ in range(RUNS):
        starts = time.process_time(), time.perf_counter()
        program.run(inputs)
        cpu.append(time.process_time() - starts[0])
        wall.append(time.perf_counter() - starts[1])
    milliseconds = {"cpu_ms": 1e3 * statistics.median(cpu), "wall_ms": 1e3 * statistics.median(wall)}
    return {"runs": RUNS, **{name: round(value, 2) for name, value in milliseconds.items()}}


def main(models: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch, Workers() as workers, RESULTS.open("a") as stream:
        for source in (f"{model}@{framework}" for model in models for framework in ("keras", "torch")):
            for target in TARGETS:
                output = Path(scratch) / f"{source}-{target}"
                result = edgekit.convert(source, target, output=output, workers=workers, store=Store())
                row = {"source": source, "target": target, "status": result.status, "route": result.route}
                if result.artifact:
                    row |= measure(Path(result.artifact) / result.parts["model"].file)
                row |= {"date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")}
                row |= {"host": host().processor, "load": round(os.getloadavg()[0], 1)}
                stream.write(json.dumps(row, sort_keys=True) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["mobilenet_v2"])
