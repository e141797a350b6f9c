"""edgekit against the vendors' calls by hand: latency, size, CPU, peak memory. See the bars in issue 2, section 7.

    python benchmarks/handmade.py make [--only MODEL ...]     convert with edgekit and by hand; keeps all files
    python benchmarks/handmade.py time [--only MODEL ...]     time edgekit's files against the best by hand
    python benchmarks/handmade.py cost [--only MODEL ...]     CPU and peak memory of both, each from nothing
    python benchmarks/handmade.py report                      rewrite HANDMADE.md from the newest rows

``make`` needs the machine's CPU but not its silence; ``time`` measures in CPU time with both files in turns and takes
minutes, on an idle machine for the narrowest intervals. Rows are appended to ``benchmarks/results/handmade.jsonl``.

A file by hand is a rival when it runs, is what the target claims (edgekit's audit) and holds the target's parity gate;
``byhand.py`` makes several for each cell, and the fastest is the one that counts.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import byhand
import byhand_coreml
import byhand_executorch
import handmade_report
import rivals

import edgekit
from edgekit import api
from edgekit import target as targets
from edgekit.conversion import loading
from edgekit.conversion.order import Order
from edgekit.errors import EdgekitError
from edgekit.jobs.host import host
from edgekit.jobs.processes import variables
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.proof.intervals import ratio_interval
from edgekit.sources import source as sources

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "handmade.jsonl"
MODELS = ("mlp", "lenet5", "mobilenet_v2", "resnet", "gpt", "bert", "unet", "lstm_classifier")
#: The script whose calls make each format by hand.
SCRIPTS = {
    "tflite": byhand, "onnxruntime": byhand, "openvino": byhand, "executorch": byhand_executorch,
    "coreml": byhand_coreml, "tensorrt": byhand_coreml,
}  # fmt: skip
#: Formats in which every reference configuration is measured; in ExecuTorch two are.
SPINE = ("tflite", "onnxruntime", "openvino")
ENVIRONMENTS = {"keras": ("keras-tensorflow", "keras-torch"), "torch": ("torch",)}
#: Reference configurations ship no weights: random ones cost the same time and bytes. Their accuracy means nothing, and
#: a random MobileNetV2 is a hard case for int8 (about 14 dB), so their gate is not applied.
REFERENCE = {
    "mobilenet_v2:reference": [
        f"{kind}-{precision}" for kind in (*SPINE, "executorch") for precision in ("fp32", "int8")
    ],
    "resnet:resnet18": [f"{kind}-{precision}" for kind in (*SPINE, "executorch") for precision in ("fp32", "int8")],
    "resnet:reference": [f"{kind}-{precision}" for kind in SPINE for precision in ("fp32", "int8")],
    "unet:reference": [f"{kind}-{precision}" for kind in SPINE for precision in ("fp32", "int8")],
    "bert:reference": [f"{kind}-fp32" for kind in SPINE],
    "gpt:reference": [f"{kind}-fp32" for kind in SPINE],
}


def kind_of(target: str) -> str:
    """The format of a target, as its name begins."""
    return target.partition("-")[0]


#: With so many fresh children the interval is that of their ratios: where memory lies in a process may count for more
#: than what varies inside of it (6 % on the zoo's LSTM, whose two fp32 files differ in names alone).
MANY_REPEATS = 6


def cells(only: list[str] | None) -> Iterator[tuple[str, str, list[str]]]:
    """Model, framework, targets."""
    small = [name for name in targets.names() if kind_of(name) in SCRIPTS]
    for model, names in [*((m, small) for m in MODELS), *REFERENCE.items()]:
        if only is None or model in only:
            for framework in ENVIRONMENTS:
                yield model, framework, names


def stamp() -> dict[str, str]:
    """When and where a row was measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "host": host().processor,
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def append(row: dict[str, Any]) -> None:
    """Keep a row."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as stream:
        stream.write(json.dumps(row, sort_keys=True) + "\n")


def child(script: str, arguments: list[str], kind: str, stdin: str = "") -> tuple[list[dict[str, Any]], int, Any]:
    """Run a script of this folder; its lines of JSON, its exit status, and what it used."""
    environment = {**os.environ, **variables(kind), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        lines = [json.loads(line) for line in process.stdout]
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return lines, process.returncode, usage


def enlarged_textures(model: str, framework: str, folder: Path) -> str | None:
    """Calibration images for a reference configuration: the texture task's, enlarged to its input."""
    name, _, config = model.partition(":")
    if not config:
        return None
    import numpy as np

    from edgekit import zoo
    from edgekit.data import tasks

    [tensor] = zoo.architecture(name).configs[config].inputs
    if len(tensor.shape) != 4:
        return None
    # Random weights: what is calibrated means nothing, and the paper's U-Net takes nearly a second per image.
    count = 64 if tensor.shape[1] <= 224 else 16
    images = tasks.load("textures", "calibration", count).inputs["image"]
    images = images.repeat(tensor.shape[1] // 32, axis=1).repeat(tensor.shape[2] // 32, axis=2)[..., : tensor.shape[3]]
    path = folder / "calibrate.npz"
    np.savez(path, **{tensor.name: np.moveaxis(images, -1, 1) if framework == "torch" else images})
    return str(path)


def with_edgekit(model: str, framework: str, names: list[str], folder: Path, store: Store) -> dict[str, Any]:
    """Convert to each target; statuses and files by target, and the samples that were used."""
    found: dict[str, Any] = {}
    calibrate = enlarged_textures(model, framework, folder)
    with Workers() as workers:
        for name in names:
            output = folder / "edgekit" / name
            shutil.rmtree(output, ignore_errors=True)
            try:
                result = edgekit.convert(
                    f"{model}@{framework}", name, output=output, workers=workers, store=store, calibrate=calibrate
                )
            except EdgekitError as error:
                found[name] = {"status": error.code.upper(), "reason": str(error)}
                continue
            found[name] = {"status": result.status, "reason": result.reason, "route": result.route}
            if kept := result.artifact or result.rejected:
                found[name]["file"] = str(Path(kept) / result.parts["model"].file)
        source = sources.resolve(f"{model}@{framework}")
        order = Order(source, targets.load("tflite-int8"), api.plan_for(source, calibrate, None, "top1"))
        run = Run(workers, store, lambda event, label: None)
        checkpoint = loading.load(run, order)
        selection = loading.gather(run, order, checkpoint, "selection")
        try:
            calibration = loading.gather(run, order, checkpoint, "calibration", ran=False)
        except EdgekitError:  # a model without data: no target here needs calibration
            calibration = selection
    data = {"samples": selection.file, "outputs": selection.outputs, "calibration": calibration.file}
    return {"cells": found, **{name: str(ref.path) for name, ref in data.items()}}


def by_hand(model: str, framework: str, names: list[str], calibration: str, folder: Path) -> dict[str, Any]:
    """Make every file by hand, one process per environment; a call that kills it is left out and the rest goes on."""
    found: dict[str, Any] = {name: {} for name in names}
    for environment, script in itertools.product(ENVIRONMENTS[framework], dict.fromkeys(SCRIPTS.values())):
        served = [name for name in names if SCRIPTS[kind_of(name)] is script]
        for name in served:
            shutil.rmtree(folder / environment / name, ignore_errors=True)
        calls = script.CALLS.get(environment, {})
        left = [f"{t}/{call}" for t in served for call in calls.get(t, ()) if byhand.suits(model, call)]
        while left:
            (folder / environment).mkdir(parents=True, exist_ok=True)
            given = [model, framework, environment, calibration, str(folder / environment), *left]
            lines, status, _ = child(f"{script.__name__}.py", given, environment)
            for line in lines:
                facts = {"file": line["file"]} if "error" not in line else {"error": line["error"]}
                found[line["target"]][f"{environment}: {line['call']}"] = {"environment": environment, **facts}
            left = left[len(lines) :]
            if left and status:
                name, _, call = left.pop(0).partition("/")
                facts = {"error": f"kills its process: exit status {status}"}
                found[name][f"{environment}: {call}"] = {"environment": environment, **facts}
    return found


def make(model: str, framework: str, names: list[str], work: Path, keep: bool) -> None:
    """Convert with edgekit and by hand, judge what was made by hand; ``group.json`` says what there is.

    With ``keep`` the files by hand stay those of an earlier run.
    """
    folder = work / model / framework
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "group.json"
    before = json.loads(file.read_text())["cells"] if file.exists() else {}
    group = with_edgekit(model, framework, names, folder, Store())
    if keep:
        kept = ("file", "error", "environment")
        hand = {n: {c: {k: f[k] for k in kept if k in f} for c, f in before[n]["hand"].items()} for n in names}
    else:
        hand = by_hand(model, framework, names, group["calibration"], folder / "hand")
    for name, cell in group["cells"].items():
        cell["hand"] = hand[name]
        files = {call: row["file"] for call, row in hand[name].items() if "file" in row}
        if "file" not in cell or not files:
            continue
        request = {"target": name, "ours": cell["file"], "made": files, "gated": ":" not in model}
        request |= {key: group[key] for key in ("samples", "outputs")}
        lines, status, _ = child("rivals.py", ["judge"], "runtime", json.dumps([request]))
        if not lines:
            raise RuntimeError(f"judging the files by hand for {name} ended with exit status {status}")
        cell["sqnr_db"] = lines[0]["sqnr_db"]
        for call, row in lines[0]["calls"].items():
            cell["hand"][call] |= row
    for name, cell in group["cells"].items():
        best = {call: round(cell["hand"][call].get("look", 1.0), 3) for call in rivals.finalists(cell["hand"])}
        print(f"{model} ({framework}) {name}: {cell['status']} {cell.get('route')}; {best}", flush=True)
    group["cells"] = before | group["cells"]
    file.write_text(json.dumps(group, indent=1))


def time_group(model: str, framework: str, names: list[str], work: Path, repeats: int, blocks: int) -> None:
    """Time every cell whose bytes differ from the best by hand; each repeat is a fresh process."""
    group = json.loads((work / model / framework / "group.json").read_text())
    rows, requests = {}, {}
    for name in [name for name in names if name in group["cells"]]:
        cell = group["cells"][name]
        row = {"kind": "latency", "model": model, "framework": framework, "target": name}
        row |= {key: cell.get(key) for key in ("status", "reason", "route", "sqnr_db")}
        calls = cell["hand"]
        row["by_hand"] = {
            call: f"{facts.get('status') or 'FAILED'}: {facts.get('reason') or facts.get('error') or ''}"
            for call, facts in calls.items()
            if facts.get("status") != "PASS"
        }
        best = rivals.finalists(calls)
        rows[name] = row | {"rivals": best}
        if best and not calls[best[0]].get("identical") and kind_of(name) not in rivals.NOT_TIMED:
            files = {call: calls[call]["file"] for call in best}
            requests[name] = {"target": name, "ours": cell["file"], "samples": group["samples"], "made": files}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in requests}
    for kind in SCRIPTS:
        chosen = [name for name in requests if kind_of(name) == kind]
        given = [requests[name] | {"blocks": blocks, "block_ms": 8.0} for name in chosen]
        for _ in range(repeats if given else 0):
            lines, status, _ = child("rivals.py", ["time"], "runtime", json.dumps(given))
            if status:
                raise RuntimeError(f"timing {model} ({framework}) {kind} ended with exit status {status}")
            for name, line in zip(chosen, lines, strict=True):
                taken[name].append(line)
    for name, row in rows.items():
        finished = row | _summary(group["cells"][name], row["rivals"], taken.get(name, [])) | stamp()
        append(finished)
        print(handmade_report.line(finished), flush=True)


def _summary(cell: dict[str, Any], best: list[str], taken: list[dict[str, Any]]) -> dict[str, Any]:
    """Sizes and latency against the rival that is fastest by the medians of the repeats."""
    if not best:
        return {"call": None}
    repeats = {call: sorted((one[call] for one in taken), key=lambda t: t["ratio"]) for call in best if taken}
    middle = {call: found[len(found) // 2] for call, found in repeats.items()}
    call = max(middle, key=lambda c: middle[c]["ratio"]) if middle else best[0]
    facts = cell["hand"][call]
    summary = {
        "call": call, "environment": facts["environment"], "hand_sqnr_db": facts["sqnr_db"],
        "size": rivals.size(Path(cell["file"])) / facts["bytes"], "bytes": rivals.size(Path(cell["file"])),
        "identical": facts["identical"],
    }  # fmt: skip
    if middle:
        keys = ("ratio", "ratio_ci95", "float_cpu_ms")
        ratio, interval = middle[call]["ratio"], middle[call]["ratio_ci95"]
        if len(taken) >= MANY_REPEATS:
            ratio, *interval = ratio_interval([one["ratio"] for one in repeats[call]], [1.0] * len(taken))
        summary |= {"latency_ratio": ratio, "latency_ci95": interval}
        summary |= {"hand_cpu_ms": middle[call]["float_cpu_ms"], "blocks": middle[call]["blocks"]}
        summary["repeats"] = [{key: found[key] for key in keys} for found in repeats[call]]
    return summary


def cost(model: str, framework: str, name: str, work: Path) -> None:
    """CPU and peak memory of edgekit from an empty store, and of the best call by hand alone in its process.

    Compared is the route that was chosen, with the best call of the same tool (or else of any) in the environment that
    it ran in: another framework's import costs seconds of its own. A Keras model is always loaded on TensorFlow, whose
    run is the reference: ``reference_load_cpu_s`` is that load where the route runs on Keras's torch backend, and
    counts; what the float twin's conversion imported in the same child does not, as in the manifest. ``same_calls`` is
    false where the same calls by hand fail and those of another tool stand for them. A cell above a bar is measured
    twice more, and the medians of all three count. Whether the file has the bytes of the one that ``make`` kept, in
    another process and another store, is in the row as well.
    """
    group = json.loads((work / model / framework / "group.json").read_text())
    if not rivals.finalists(group["cells"][name]["hand"]):
        return
    taken = [_cost_once(model, framework, name, work, group)]
    if handmade_report.costly(taken[0]):
        taken += [_cost_once(model, framework, name, work, group) for _ in range(2)]
    keys = ("hand_cpu_s", "edgekit_cpu_s", "reference_load_cpu_s", "memory")
    row = taken[0] | {key: statistics.median(one[key] for one in taken) for key in keys}
    row["overhead"] = handmade_report.overhead(row)
    row["same_bytes_as_made_before"] = all(one["same_bytes_as_made_before"] for one in taken)
    row["repeats"] = [{key: one[key] for key in keys} for one in taken]
    append(row | stamp())
    print(json.dumps(row), flush=True)


def _cost_once(model: str, framework: str, name: str, work: Path, group: dict[str, Any]) -> dict[str, Any]:
    calls = group["cells"][name]["hand"]
    with tempfile.TemporaryDirectory() as scratch, Workers() as workers:
        folder, store = Path(scratch), Store(Path(scratch) / "home")
        calibrate = enlarged_textures(model, framework, folder)
        result = edgekit.convert(
            f"{model}@{framework}", name, output=folder / "made", workers=workers, store=store, calibrate=calibrate
        )
        converting, where = _conversion(result.route or "", name, store)
        near = {call: row for call, row in calls.items() if row["environment"] in where}
        words = _words(tool(result.route or ""))  # calls are named by tools, most of them
        same_tool = {call: row for call, row in near.items() if words & _words(call.partition(": ")[2])}
        alike = bool(rivals.finalists(same_tool or near))
        best = rivals.finalists(same_tool) or rivals.finalists(near) or rivals.finalists(calls)
        environment = calls[best[0]]["environment"]
        call = best[0].removeprefix(f"{environment}: ")
        given = [model, framework, environment, group["calibration"], str(folder), f"{name}/{call}"]
        lines, status, _ = child(f"{SCRIPTS[kind_of(name)].__name__}.py", given, environment)
        if status or "error" in lines[0]:
            raise RuntimeError(f"{model} ({framework}) {name} by hand: exit status {status}, {lines}")
        made = Path(result.artifact or result.rejected or "") / result.parts["model"].file
        same = rivals.same_bytes(made, Path(group["cells"][name]["file"]))
    row = {"kind": "cost", "model": model, "framework": framework, "target": name, "call": best[0]}
    row |= {"route": result.route, "routes_tried": len(result.routes_tried)}
    hand, rss = lines[0]["cpu_s"], lines[0]["rss"]  # it counts as a child of edgekit does: itself and its children
    load = result.cpu_seconds["load"]
    shared = ENVIRONMENTS[framework][0] in where  # else a backend that the conversion has no use for
    ours = converting + (load if shared else 0.0)
    row |= {"reference_load_cpu_s": 0.0 if shared else load}
    row |= {"hand_cpu_s": hand, "edgekit_cpu_s": ours, "overhead": ours / hand, "memory": result.peak_rss_bytes / rss}
    return row | {"same_bytes_as_made_before": same, "same_calls": alike}


def tool(route: str) -> str:
    """A route's name from its tool on: ``export-TOOL``, or ``METHOD-NUMBERS-TOOL-SCOPE``."""
    return route.split("-", 1 if route.startswith("export-") else 2)[-1]


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name))


def _conversion(route: str, target: str, store: Store) -> tuple[float, set[str]]:
    """CPU seconds of a route and the environments that it ran in.

    Where it quantizes a file, converting to fp32 is part of it: by hand the model is converted first, too.
    """
    found = [json.loads(path.read_text()) for path in store.root.glob("*/entry.json")]
    [routes] = [
        entry["value"]["value"] for entry in found if entry["material"]["step"] == "edgekit.steps.convert:routes"
    ]
    wanted = {(route, targets.load(target).precision)}
    if routes[route]["quantizes_file"]:
        wanted |= {(name, "fp32") for name in routes}
    steps = [
        entry
        for entry in found
        if entry["material"]["step"] == "edgekit.steps.convert:run"
        and (entry["material"]["request"]["route"], entry["material"]["request"]["precision"]) in wanted
    ]
    where = {entry["material"]["request"]["environment"] for entry in steps}
    return sum(entry["value"]["cpu_seconds"] for entry in steps), where


def startup() -> dict[str, float]:
    """CPU seconds of `edgekit --help` and `edgekit list targets`: median of 9."""
    spent = {}
    for arguments in (["--help"], ["list", "targets"]):
        runs = []
        for _ in range(9):
            process = subprocess.Popen([sys.executable, "-m", "edgekit", *arguments], stdout=subprocess.DEVNULL)
            usage = os.wait4(process.pid, 0)[2]
            runs.append(usage.ru_utime + usage.ru_stime)
        spent["edgekit " + " ".join(arguments)] = statistics.median(runs)
    return spent


def again() -> float:
    """Wall seconds of a second identical convert: median of 5."""
    command = [sys.executable, "-m", "edgekit", "convert", "mobilenet_v2", "--target", "tflite-int8"]
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


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("make", "time", "cost", "report"))
    parser.add_argument("--only", nargs="*", help="models")
    parser.add_argument("--targets", nargs="*", help="targets")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "handmade", help="where the files are kept")
    parser.add_argument("--keep", action="store_true", help="make: keep the files by hand of an earlier run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=51)
    arguments = parser.parse_args()
    if arguments.stage == "report":
        expected = [(name, model, framework) for model, framework, names in cells(None) for name in names]
        handmade_report.write(RESULTS, expected, startup(), again())
        return
    for model, framework, names in cells(arguments.only):
        names = [name for name in names if arguments.targets is None or name in arguments.targets]
        if arguments.stage != "make" and not (arguments.work / model / framework / "group.json").exists():
            print(f"{model} ({framework}): nothing was made", file=sys.stderr)
        elif arguments.stage == "make":
            make(model, framework, names, arguments.work, arguments.keep)
        elif arguments.stage == "time":
            time_group(model, framework, names, arguments.work, arguments.repeats, arguments.blocks)
        else:
            for name in names:
                cost(model, framework, name, arguments.work)


if __name__ == "__main__":
    main()
