"""Each vendor's best tool against edgekit's target, on the hard set: the same model, calibration and test samples.

    python benchmarks/vendors.py theirs [--models resnet ...] [--targets tflite-int4 ...]    make and try what tools offer
    python benchmarks/vendors.py ours [--models ...] [--targets ...]                         compare, and keep rows
    python benchmarks/vendors.py page                                                        rewrite VENDORS.md

A cell of ``CELLS`` is a model and a target of edgekit that some vendor's tool makes, too. ``theirs`` runs every setting
of ``vendor_tools.TOOLS`` and tries its file on the selection split; files and figures stay in a folder, so that a later ``ours``
compares new code with the same files. ``ours`` converts to the target, takes the setting that lost least on selection
among those whose files are no larger than edgekit's (``ROOM``), and only then runs both on test samples. A
target that does not pass is converted with ``--allow-mixed``, as its message proposes, and the row says so.
Rows are appended to ``benchmarks/results/vendors.jsonl``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import low_bits, rows
from benchmarks.vendor_tools import EVALUATED, MODELS, SELECTION, TOOLS, Given, count
from edgekit import target as targets
from edgekit import zoo
from edgekit.data import tasks
from edgekit.errors import EdgekitError
from edgekit.jobs.store import home
from edgekit.jobs.workers import Limits, Workers

RESULTS = rows.RESULTS / "vendors.jsonl"
PAGE = Path(__file__).parent / "VENDORS.md"
#: A vendor's file may be this much larger than edgekit's, and is of equal size.
ROOM = 1.02
#: Points, of perplexity per cent: ours is as good where it loses no more than this against theirs.
NEAR = 0.3


#: Model and target.
CELLS = [(model, target) for target, tool in TOOLS.items() for model in tool.models]


# What runs in children.


def quantize(model: str, target: str, setting: str, source: str, out: str) -> None:
    """One setting of a tool."""
    import random

    random.seed(0)
    np.random.seed(0)
    tool = TOOLS[target]
    given = Given(model, "torch" if setting in tool.from_model else targets.load(target).default_framework)
    tool.calls[setting](Path(source), Path(out), given)


def run(model: str, target: str, file: str, split: tasks.Split, floats: str, out: str) -> dict[str, Any]:
    """Run a file on a split, keep its outputs, and compare them with the float run."""
    made, samples = targets.load(target), count(split, target)
    outputs, by = low_bits.executed(model, made.toolchain, made.default_framework, file, split, samples)
    np.save(out, outputs)
    with np.load(floats) as stored:
        lost = low_bits.compared(model, stored["outputs"][:samples], outputs, split, samples)
    return lost | low_bits.contents(made.toolchain, file) | {"by": by}


def compare(model: str, target: str, theirs: str, ours: str) -> dict[str, Any]:
    """What ours loses against theirs, on the test samples."""
    return low_bits.compared(model, np.load(theirs), np.load(ours), "test", count("test", target))


# The parent.


def _call(workers: Workers, environment: Any, name: str, **arguments: Any) -> Any:
    """Call one of the functions above in a child."""
    texts = {key: str(value) for key, value in arguments.items()}
    return workers.call(environment, f"benchmarks.vendors:{name}", texts).value


def room(model: str) -> Path:
    """Where files and outputs of a model with its present weights stay."""
    weights = hashlib.sha256(zoo.weights_path(model, "tiny").read_bytes()).hexdigest()[:8]
    folder = home() / "vendors" / f"{model}-{weights}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def floats(model: str, split: tasks.Split, workers: Workers) -> Path:
    """The float run on a split."""
    file = room(model) / split / f"{model}.npz"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        arguments = {"folder": str(file.parent), "model": model, "split": split, "count": count(split)}
        workers.call("torch", "benchmarks.low_bits:reference", arguments)
    return file


def size(file: Path) -> int:
    """Bytes of a file: of a package what lies in it, of OpenVINO's with the weights beside it."""
    if file.is_dir():
        return sum(inner.stat().st_size for inner in file.rglob("*") if inner.is_file())
    beside = file.with_suffix(".bin")
    return file.stat().st_size + (beside.stat().st_size if file.suffix == ".xml" and beside.exists() else 0)


def tried(model: str, target: str) -> dict[str, dict[str, Any]]:
    """What is known of each setting of a tool."""
    file = room(model) / f"{target}.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    return {setting: known[setting] for setting in TOOLS[target].calls if setting in known}


def attempt(cell: tuple[str, str], workers: Workers, *, again: bool) -> None:
    """Run each setting of a tool, and try its file on the selection split."""
    model, target = cell
    tool, folder, known = TOOLS[target], room(model), {} if again else tried(model, target)
    with tempfile.TemporaryDirectory() as scratch:
        source = low_bits.ours(model, tool.source, Path(scratch), workers) if tool.source else Path()
        reference = floats(model, "selection", workers)
        for setting in tool.calls:
            if setting in known:
                continue
            file = folder / target / re.sub(r"\W+", "-", setting) / f"model.{tool.ending}"
            shutil.rmtree(file.parent, ignore_errors=True)
            file.parent.mkdir(parents=True)
            environment = "torch" if setting in tool.from_model else "runtime"
            names = {"model": model, "target": target}
            try:
                _call(workers, environment, "quantize", **names, setting=setting, source=source, out=file)
                out = folder / "selection" / "out.npy"
                found = _call(
                    workers, "runtime", "run", **names, file=file, split="selection", floats=reference, out=out
                )
                known[setting] = {"file": str(file), "bytes": size(file), **found}
            except EdgekitError as error:
                text = " ".join(str(error).split()).removeprefix("benchmarks.vendors:quantize raised ")
                known[setting] = {"error": text[:300]}
            (folder / f"{target}.json").write_text(json.dumps(known, indent=1))
            print(*cell, setting, known[setting].get("error") or f"{known[setting]['drop']:+.4f}", flush=True)


def measured(cell: tuple[str, str], workers: Workers) -> dict[str, Any]:
    """The row of one cell: ours as it is now, against the best of theirs."""
    model, target = cell
    known = tried(model, target)
    row: dict[str, Any] = {
        "tool": TOOLS[target].name,
        "tried": {
            name: {key: one[key] for key in ("bytes", "drop", "share_4_bits", "error") if key in one}
            for name, one in known.items()
        },
    }
    with tempfile.TemporaryDirectory() as scratch:
        file, row["refused"] = None, []
        for row["options"] in ({}, {"allow_mixed": True}):
            try:
                file = low_bits.ours(model, target, Path(scratch) / str(row["options"]), workers, **row["options"])
                break
            except EdgekitError as error:
                row["refused"].append(" ".join(str(error).split()))
        made = {name: one for name, one in known.items() if "error" not in one}
        if file is None or not made:
            return row | {"error": "ours" if file is None else "theirs"}
        fitting = {name: one for name, one in made.items() if one["bytes"] <= ROOM * size(file)} or made
        best = min(fitting, key=lambda name: float(fitting[name]["drop"]))
        reference, folder = floats(model, "test", workers), room(model) / "test"
        sides: dict[str, Any] = {}
        for side, of in (("theirs", Path(made[best]["file"])), ("ours", file)):
            out = folder / f"{target}-{side}.npy"
            found = _call(
                workers, "runtime", "run", model=model, target=target, file=of, split="test", floats=reference, out=out
            )
            kept = ("quantized", "drop", "drop_ci95", "weights", "share_4_bits", "by")
            sides[side] = {"bytes": size(of)} | {key: found[key] for key in kept}
            row |= {key: found[key] for key in ("metric", "samples", "float")}
        against = _call(
            workers,
            "runtime",
            "compare",
            model=model,
            target=target,
            **{s: folder / f"{target}-{s}.npy" for s in ("theirs", "ours")},
        )
    low, high = against["drop_ci95"]
    return row | sides | {"setting": best, "gain": -against["drop"], "gain_ci95": [-high, -low]}


def newest() -> dict[tuple[str, str], dict[str, Any]]:
    """The last row of each cell."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else ()
    return {(row["model"], row["target"]): row for row in map(json.loads, lines)}


def keep(cell: tuple[str, str], workers: Workers) -> None:
    """Measure a cell and append its row."""
    row = dict(zip(("model", "target"), cell, strict=True)) | measured(cell, workers)
    row |= rows.stamp()
    with RESULTS.open("a") as stream:
        stream.write(json.dumps(row, sort_keys=True) + "\n")
    print(*cell, row.get("error") or f"{row['setting']}: {row['gain']:+.4f} {row['gain_ci95']}", flush=True)


# The page.


def page() -> str:
    """The tables of the newest rows."""
    found = {cell: newest()[cell] for cell in CELLS if cell in newest()}
    compared = [row for row in found.values() if "error" not in row]
    equal = [row for row in compared if not _larger(row)]
    near = [row for row in equal if 100 * row["gain"] >= -NEAR]
    better = [row for row in equal if row["gain"] > 0]
    proven = [row for row in equal if row["gain_ci95"][0] > 0]
    worse = [row for row in equal if row["gain_ci95"][1] < 0]
    hosts = sorted({row["host"] for row in found.values()})
    lines = [
        "# Low bits: each vendor's best tool against edgekit",
        "",
        f"Written by `benchmarks/vendors.py` from `results/vendors.jsonl`, measured on {', '.join(hosts)}.",
        "The same model, calibration samples and test samples for both. Every setting of a tool was tried on the",
        f"selection split (n = {SELECTION}), and the best whose file is at most {ROOM - 1:.0%} larger than edgekit's went",
        "on to the test split. Loss is against the float model, in points of the metric, of perplexity in per cent;",
        "*gain* is what edgekit's file is ahead of theirs on the same samples, positive is better, with its 95 %",
        "interval.",
        "",
        f"Of {len(found)} cells {len(found) - len(compared)} have no file of the target that passes. Of the others "
        f"{len(equal)} are of equal size",
        "(ours is no more than 2 % larger). Of these edgekit's file is",
        "",
        f"- as good (no more than {NEAR} behind) in {len(near)} of {len(equal)},",
        f"- better in {len(better)} of {len(equal)}, in {len(proven)} of them beyond the interval;",
        f"- worse beyond the interval in {len(worse)} of {len(equal)}.",
        "",
        "| model | target | tool: its best setting | n | float | theirs loses | ours loses | gain | KB | 4 bits |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_line, found.values()),
        "",
        "KB and the share of weights in 4 bits: theirs, ours. Convolutional networks have no row of `openvino-int4`,",
        "`onnxruntime-int4` and `executorch-int4`: these formats have 4-bit kernels for linear layers alone, and the",
        "targets refuse such a network by name. *mixed*: the target passes its gate with `--allow-mixed` alone.",
        f"Core ML's files are run by edgekit's evaluator, in NumPy, an operator at a time: at least {EVALUATED} samples there.",
        "",
        "## What the tools were tried with",
        "",
        f"Loss on the selection split, n = {SELECTION}; KB of the file.",
    ]
    for (model, target), row in found.items():
        lines += [
            "",
            f"### {model}, {target}: {row['tool']}",
            "",
            "| setting | loss | KB | 4 bits |",
            "|---|---|---|---|",
        ]
        lines += [_setting(name, one) for name, one in row["tried"].items()]
    return "\n".join(lines) + "\n"


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), "utf-8")


def _larger(row: Mapping[str, Any]) -> bool:
    return bool(row["ours"]["bytes"] > ROOM * row["theirs"]["bytes"])


def _line(row: Mapping[str, Any]) -> str:
    head = f"| {row['model']} | {row['target']}{' (mixed)' if row['options'] and 'error' not in row else ''} | {row['tool']}"
    if "error" in row:
        why = row["refused"][0].partition(" What may help")[0].replace("|", "/") if row["refused"] else ""
        return f"{head} | | | | | {why or 'no setting of theirs makes a file'} | | |"
    relative = row["metric"] == "perplexity"
    unit, shown = (" %", "{:.3f}") if relative else ("", "{:.2%}")
    theirs, ours = (f"{100 * row[side]['drop']:+.2f}{unit}" for side in ("theirs", "ours"))
    low, high = (100 * bound + 0.0 for bound in row["gain_ci95"])
    kilobytes = ", ".join(f"{row[side]['bytes'] / 1000:.0f}" for side in ("theirs", "ours"))
    shares = ", ".join(f"{row[side]['share_4_bits']:.0%}" for side in ("theirs", "ours"))
    gain = f"{100 * row['gain'] + 0.0:+.2f}{unit} [{low:+.2f}, {high:+.2f}]"
    sizes = f"{kilobytes}{' (ours is larger)' if _larger(row) else ''}"
    return (
        f"{head}: {row['setting']} | {row['samples']} | {shown.format(row['float'])} "
        f"| {theirs} | {ours} | {gain} | {sizes} | {shares} |"
    )


def _setting(name: str, one: Mapping[str, Any]) -> str:
    if "error" in one:
        return f"| {name} | {one['error'].replace('|', '/')} | | |"
    return f"| {name} | {100 * one['drop']:+.2f} | {one['bytes'] / 1000:.0f} | {one['share_4_bits']:.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("theirs", "ours", "page"))
    parser.add_argument("--models", nargs="*", default=[], help="all by default")
    parser.add_argument("--targets", nargs="*", default=[], help="all by default")
    parser.add_argument("--again", action="store_true", help="theirs: also settings that were tried")
    arguments = parser.parse_args()
    with Workers(Limits(seconds=900)) as workers:
        for cell in CELLS if arguments.stage != "page" else ():
            asked = (arguments.models or MODELS, arguments.targets or TOOLS)
            if not all(name in names for name, names in zip(cell, asked, strict=True)):
                continue
            if arguments.stage == "theirs":
                attempt(cell, workers, again=arguments.again)
            else:
                keep(cell, workers)
    write()


if __name__ == "__main__":
    main()
