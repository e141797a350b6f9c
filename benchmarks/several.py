"""What one call with several targets takes, against a shell loop over them.

    python -m benchmarks.several [--targets NAME,NAME] [--ways one_call loop]

Both ways convert ``small_cnn.py`` by the command line, latency included, each with a store of its own that is empty
first; the loop's calls share theirs, as a user's do.
Rows are appended to ``benchmarks/results/several.jsonl``: wall and CPU seconds of all processes, how each target
ended, and for the loop's row what one call takes of its time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from benchmarks import rows

RESULTS = rows.RESULTS / "several.jsonl"
ROOT = Path(__file__).parent.parent
MODEL = ROOT / "benchmarks" / "small_cnn.py"
#: The packaged targets that have something for a CNN and are executed here, Core ML's and TensorRT's by their stand-ins.
TARGETS = """
tflite-fp32 tflite-fp16 tflite-int8 tflite-int8-dynamic tflite-int16x8 tflite-int4
onnxruntime-fp32 onnxruntime-int8 onnxruntime-int8-dynamic
openvino-fp32 openvino-fp16 openvino-int8 openvino-int8-weights
executorch-fp32 executorch-fp16 executorch-int8 executorch-int8-dynamic
coreml-fp32 coreml-fp16 coreml-int8 coreml-int8-weights coreml-lut4
tensorrt-fp32
""".split()  # noqa: SIM905


def call(targets: str, folder: Path) -> dict[str, str]:
    """``edgekit convert`` as it is typed; the status of each target."""
    command = [sys.executable, "-m", "edgekit", "convert", f"{MODEL}:build", "--input", "x=1x1x32x32:float32"]
    command += ["--calibrate", f"{MODEL}:samples", "--target", targets, "-o", str(folder / targets[:40]), "--json"]
    environment = {**os.environ, "EDGEKIT_HOME": str(folder / "home")}
    with (folder / "log").open("ab") as log:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, check=False)
    document = json.loads(done.stdout)
    found = document.get("results", [document])
    return {row.get("target", targets): row["status"] for row in found}


def one_call(targets: list[str], folder: Path) -> dict[str, str]:
    """All at once."""
    return call(",".join(targets), folder)


def loop(targets: list[str], folder: Path) -> dict[str, str]:
    """One after the other."""
    return {name: status for target in targets for name, status in call(target, folder).items()}


WAYS = {way.__name__: way for way in (one_call, loop)}


def measured(way: str, targets: list[str]) -> dict[str, Any]:
    """What a way takes, and what others used of the machine meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        before, busy, start = psutil.Process().cpu_times(), psutil.cpu_times(), time.monotonic()
        ended = WAYS[way](targets, Path(folder))
        wall, after, total = time.monotonic() - start, psutil.Process().cpu_times(), psutil.cpu_times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    everything = total.user + total.system + total.nice - busy.user - busy.system - busy.nice
    return {
        "way": way, "targets": len(targets), "wall_s": round(wall, 2), "cpu_s": round(cpu, 2),
        "cpu_s_of_others": round(max(0.0, everything - cpu), 2), "cores": psutil.cpu_count(),
        "ended": dict(Counter(ended.values())), "not_passed": {n: s for n, s in ended.items() if s != "PASS"},
        "latency": True,
    }  # fmt: skip


def main() -> None:
    """Measure the ways, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--no-rows", action="store_true", help="print alone")
    arguments = parser.parse_args()
    targets, found = arguments.targets.split(","), {}
    for way in arguments.ways:
        found[way] = row = {**measured(way, targets), **rows.stamp()}
        if len(found) == len(WAYS):
            for key in ("wall_s", "cpu_s"):
                row[f"share_{key}"] = round(found["one_call"][key] / found["loop"][key], 3)
        print(json.dumps(row), flush=True)
        if not arguments.no_rows:
            with RESULTS.open("a") as stream:
                stream.write(json.dumps(row, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
