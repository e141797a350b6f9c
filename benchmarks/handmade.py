"""edgekit against the vendors' calls by hand: CPU, peak memory, bytes, size, latency. See the bars in issue 2, section 7.

    python benchmarks/handmade.py [--write-readme]

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
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import edgekit
from edgekit import packaging
from edgekit.jobs import _COMMON, _VARIABLES, Workers
from edgekit.store import Store, sha256_file

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "handmade.jsonl"
START, END = "<!-- bars -->", "<!-- /bars -->"
#: Reference configurations ship no weights: random ones cost the same time and bytes. Their accuracy means nothing, and
#: a random MobileNetV2 is a hard case for int8 (about 14 dB), so their status is not part of the bar.
REFERENCE_ROWS = [
    ("mobilenet_v2:reference", "keras", "tflite-int8"),
    ("mobilenet_v2:reference", "torch", "openvino-int8"),
    ("resnet:resnet18", "torch", "onnxruntime-int8"),
]
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
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "byhand.py"),
        model,
        framework,
        target,
        str(calibration),
        str(out),
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(errors[-2000:])
    return {"cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss * 1024}


def with_edgekit(
    model: str, framework: str, target: str, out: Path, home: Path, calibrate: str | None
) -> tuple[edgekit.Result, Store]:
    """Convert from an empty store."""
    store = Store(home)
    with Workers() as workers:
        source = f"{model}@{framework}"
        found = edgekit.convert(source, target, output=out, workers=workers, store=store, calibrate=calibrate)
        return found, store


def enlarged_textures(model: str, framework: str, folder: Path) -> str | None:
    """Calibration images for a reference configuration: the texture task's, enlarged to its input."""
    name, _, config = model.partition(":")
    if not config:
        return None
    import numpy as np

    from edgekit import zoo
    from edgekit.data import tasks

    [tensor] = zoo.architecture(name).configs[config].inputs
    images = tasks.load("textures", "calibration", 64).inputs["image"]
    images = images.repeat(tensor.shape[1] // 32, axis=1).repeat(tensor.shape[2] // 32, axis=2)
    path = folder / "calibrate.npz"
    np.savez(path, **{tensor.name: np.moveaxis(images, -1, 1) if framework == "torch" else images})
    return str(path)


def compare(model: str, framework: str, target: str, repeats: int) -> dict[str, Any]:
    """One row: medians over repeats, alternating between the two."""
    cpu: dict[str, list[float]] = {"hand": [], "edgekit": []}
    rss: dict[str, list[float]] = {"hand": [], "edgekit": []}
    with tempfile.TemporaryDirectory() as scratch:
        for repeat in range(repeats):
            folder = Path(scratch) / str(repeat)
            folder.mkdir()
            calibrate = enlarged_textures(model, framework, folder)
            result, store = with_edgekit(model, framework, target, folder / "artifact", folder / "home", calibrate)
            kept = result.artifact or result.rejected
            if kept is None:
                facts = {"status": result.status, "reason": result.reason}
                return {"model": model, "framework": framework, "target": target, **facts}
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
        ours = Path(kept) / result.parts["model"].file
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


def startup() -> dict[str, float]:
    """CPU seconds of `edgekit --help` and `edgekit list targets`: median of 9."""
    spent = {}
    for arguments in (["--help"], ["list", "targets"]):
        runs = []
        for _ in range(9):
            process = subprocess.Popen([sys.executable, "-m", "edgekit.cli", *arguments], stdout=subprocess.DEVNULL)
            usage = os.wait4(process.pid, 0)[2]
            runs.append(usage.ru_utime + usage.ru_stime)
        spent["edgekit " + " ".join(arguments)] = statistics.median(runs)
    return spent


def again() -> float:
    """Wall seconds of a second identical convert: median of 5."""
    command = [sys.executable, "-m", "edgekit.cli", "convert", "mobilenet_v2", "--target", "tflite-int8"]
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "EDGEKIT_HOME": scratch}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": scratch}
        subprocess.run(command, env=environment, check=True, **quiet)
        walls = []
        for _ in range(5):
            start = time.monotonic()
            subprocess.run(command, env=environment, check=True, **quiet)
            walls.append(time.monotonic() - start)
    return statistics.median(walls)


def table(rows: list[dict[str, Any]], start: dict[str, float], second: float) -> str:
    """The README's tables."""
    first = rows[0]
    lines = [
        f"Cost against the vendors' own calls written by hand ([byhand.py](benchmarks/byhand.py)), {first['date']} UTC, "
        f"{first['host']}, {first['repeats']} run(s) per row, each from an empty store:",
        "",
        "| model | target | route | by hand CPU s | edgekit load + convert CPU s | ratio | peak memory ratio | size ratio "
        "| latency ratio, 95 % interval |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        if "overhead" not in r:
            lines.append(
                f"| {r['model']} ({r['framework']}) | {r['target']} | {r['status']}: {r['reason']} | | | | | | |"
            )
            continue
        if r["identical"]:
            latency = "identical bytes"
        elif r["latency_ci95"] is None:
            latency = f"hand-made file does not run: {r['latency_error']}"
        else:
            latency = f"{r['latency_ratio']:.3f}, {r['latency_ci95'][0]:.3f} to {r['latency_ci95'][1]:.3f}"
        lines.append(
            f"| {r['model']} ({r['framework']}) | {r['target']} | {r['route']} | {r['hand_cpu_s']:.1f} | "
            f"{r['edgekit_cpu_s']:.1f} | {r['overhead']:.2f} | {r['memory']:.2f} | {r['size']:.3f} | {latency} |"
        )
    cpu = ", ".join(f"`{name}` {seconds:.2f} CPU s" for name, seconds in start.items())
    lines += ["", f"{cpu} (median of 9); a second identical convert {second:.1f} s wall (median of 5)."]
    return "\n".join(lines)


def main() -> None:
    """Run all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write-readme", action="store_true")
    arguments = parser.parse_args()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for model, framework, target in ROWS + REFERENCE_ROWS:
        if arguments.only and arguments.only != model:
            continue
        row = compare(model, framework, target, arguments.repeats if ":" not in model else 1)
        rows.append(row)
        print(json.dumps(row), flush=True)
        with RESULTS.open("a") as stream:
            stream.write(json.dumps(row, sort_keys=True) + "\n")
    if arguments.write_readme:
        readme = ROOT / "README.md"
        before, _, rest = readme.read_text().partition(START)
        text = table(rows, startup(), again())
        readme.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
