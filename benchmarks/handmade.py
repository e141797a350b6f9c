"""edgekit against the vendors' calls by hand: CPU, peak memory, bytes, size, latency. See the bars in issue 2, section 7.

    python benchmarks/handmade.py [--config reference] [--write-readme]

For each row both are run from nothing (an empty store), then the two files are timed in turns in one child. Columns:

- overhead: CPU of load + convert from the manifest (with the float twin where the route quantizes a file, since by
  hand it is converted too) over the CPU of the whole hand-written script;
- memory: peak of the largest child over the script's;
- latency: 95 % interval of edgekit's CPU time over the hand-made file's, or "identical bytes".
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import edgekit
from edgekit import packaging
from edgekit.jobs import _COMMON, _VARIABLES, Workers
from edgekit.store import Store, sha256_file

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "handmade.jsonl"
ROWS = [
    ("mobilenet_v2", "keras", "tflite-fp32"),
    ("mobilenet_v2", "keras", "tflite-int8"),
    ("mobilenet_v2", "torch", "tflite-int8"),
    ("mobilenet_v2", "torch", "onnxruntime-fp32"),
    ("mobilenet_v2", "torch", "onnxruntime-int8"),
    ("mobilenet_v2", "torch", "openvino-fp32"),
    ("mobilenet_v2", "torch", "openvino-int8"),
    ("mobilenet_v2", "keras", "openvino-int8"),
    ("resnet", "torch", "onnxruntime-int8"),
    ("resnet", "keras", "tflite-int8"),
    ("bert", "torch", "onnxruntime-fp32"),
    ("gpt", "keras", "tflite-int8"),
]


def by_hand(model: str, framework: str, target: str, calibration: Path, out: Path) -> dict[str, float]:
    """Run the script in a process of its own; CPU seconds and peak resident bytes of it."""
    kind = "torch" if framework == "torch" else "keras-tensorflow"
    environment = {**os.environ, **_COMMON, **_VARIABLES[kind], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / "byhand.py"), model, framework, target, str(calibration), str(out)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(errors[-2000:])
    return {"cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024}


def with_edgekit(model: str, framework: str, target: str, out: Path, home: Path) -> tuple[edgekit.Result, Store]:
    """Convert from an empty store."""
    store = Store(home)
    with Workers() as workers:
        source = f"{model}@{framework}"
        return edgekit.convert(source, target, output=out, workers=workers, store=store), store


def compare(model: str, framework: str, target: str, repeats: int) -> dict[str, Any]:
    """One row: medians over repeats, alternating between the two."""
    cpu: dict[str, list[float]] = {"hand": [], "edgekit": []}
    rss: dict[str, list[float]] = {"hand": [], "edgekit": []}
    with tempfile.TemporaryDirectory() as scratch:
        for repeat in range(repeats):
            folder = Path(scratch) / str(repeat)
            result, store = with_edgekit(model, framework, target, folder / "artifact", folder / "home")
            if result.status != "PASS":
                return {"model": model, "framework": framework, "target": target, "status": result.status, "reason": result.reason}
            calibration = _calibration(store)
            ending = Path(result.parts["model"].file).suffix
            made = folder / f"hand{ending}"
            hand = by_hand(model, framework, target, calibration, made)
            spent = result.cpu_seconds
            total = spent["load"] + spent["convert"]
            if _quantizes_file(result.route or "", store):
                total += _float_conversion(store)
            cpu["hand"].append(hand["cpu"])
            cpu["edgekit"].append(total)
            rss["hand"].append(hand["rss"])
            rss["edgekit"].append(result.peak_rss_bytes)
        ours = folder / "artifact" / result.parts["model"].file
        row = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
            "host": packaging.host().processor,
            "model": model, "framework": framework, "target": target, "status": result.status, "route": result.route,
            "repeats": repeats,
            "hand_cpu_s": statistics.median(cpu["hand"]), "edgekit_cpu_s": statistics.median(cpu["edgekit"]),
            "overhead": statistics.median(e / h for e, h in zip(cpu["edgekit"], cpu["hand"], strict=True)),
            "memory": statistics.median(e / h for e, h in zip(rss["edgekit"], rss["hand"], strict=True)),
            "size": _size(ours) / _size(made),
            "identical": sha256_file(ours) == sha256_file(made),
        }  # fmt: skip
        samples = next(store.root.glob("*/files/samples.npz"))
        return row | _latency(result, ours, made, samples)


def _entries(store: Store, step: str) -> list[Any]:
    found = [json.loads(path.read_text()) for path in store.root.glob("*/entry.json")]
    return [entry for entry in found if entry["material"]["step"] == step]


def _calibration(store: Store) -> Path:
    """The calibration samples that edgekit used; any split serves targets that need none."""
    entries = _entries(store, "samples")
    chosen = [e for e in entries if e["material"]["arguments"]["split"] == "calibration"] or entries
    return store.root / chosen[0]["key"] / "files" / "samples.npz"


def _quantizes_file(route: str, store: Store) -> bool:
    [entry] = _entries(store, "routes")
    return bool(entry["value"]["value"][route]["quantizes_file"])


def _float_conversion(store: Store) -> float:
    entries = [e for e in _entries(store, "convert") if e["material"]["arguments"]["precision"] == "fp32"]
    return float(sum(entry["value"]["cpu_seconds"] for entry in entries))


def _size(path: Path) -> int:
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)


def _latency(result: edgekit.Result, ours: Path, made: Path, samples: Path) -> dict[str, Any]:
    """Time the two files in turns; the hand-made one may lack the source's tensor names, so inputs go by position."""
    program = (
        "import json,sys,dataclasses,numpy as np,pathlib\n"
        "from edgekit import latency,steps\n"
        "chain,ours,made,precision,samples=sys.argv[1:]\n"
        "tools=steps.toolchain(chain)\n"
        "stored=np.load(samples)\n"
        "arrays=[stored[n][:1] for n in stored.files if n.startswith('x/')]\n"
        "def bound(path):\n"
        "    names=[t.name for t in tools.audit(pathlib.Path(path)).inputs]\n"
        "    return tools.open_session(pathlib.Path(path),precision).bind(dict(zip(names,arrays)))\n"
        "print(json.dumps(dataclasses.asdict(latency.measure(bound(made),bound(ours),blocks=101))))\n"
    )
    command = [sys.executable, "-c", program, result.toolchain, str(ours), str(made), result.precision, str(samples)]
    environment = {**os.environ, **_COMMON}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"latency_ci95": None, "latency_error": done.stderr.strip().splitlines()[-1][:200]}
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"latency_ratio": found["ratio"], "latency_ci95": found["ratio_ci95"], "hand_cpu_ms": found["float_cpu_ms"]}


def main() -> None:
    """Run all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="tiny")
    parser.add_argument("--only")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    for model, framework, target in ROWS:
        if arguments.only and arguments.only != model:
            continue
        name = model if arguments.config == "tiny" else f"{model}:{arguments.config}"
        row = compare(name, framework, target, arguments.repeats)
        print(json.dumps(row), flush=True)
        with RESULTS.open("a") as stream:
            stream.write(json.dumps(row, sort_keys=True) + "\n")
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()
