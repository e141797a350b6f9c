"""What static int8 with `--allow-mixed` makes of models that are hard for it, and of the zoo's transformers.

    python -m benchmarks.mixed [--models char_llama ...] [--targets tflite-int8 ...] [--again]
    python -m benchmarks.mixed page        rewrite the table in docs/low-bits.md from the newest rows

A cell is a model and a target: it is converted with `--allow-mixed` and no other hint, timed against its float twin,
and what comes out gives a row in ``benchmarks/results/mixed.jsonl``. The drop is that of the test split, which chooses
nothing. A model is *home plainly* where a route passed that needs no `--allow-mixed`, and no layer was kept higher.
Keras's MobileNetV3Small, which comes without weights, is trained on first use, for some minutes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from benchmarks import rows
from edgekit.data import tasks
from edgekit.errors import EdgekitError
from edgekit.jobs.store import Store, home
from edgekit.jobs.workers import Workers
from edgekit.result import Result

ROOT = Path(__file__).parent.parent
RESULTS = rows.RESULTS / "mixed.jsonl"
PAGE = ROOT / "docs" / "low-bits.md"
BEGIN, END = "<!-- benchmarks/mixed.py: begin -->", "<!-- end -->"
CHILDREN = ROOT / "tests" / "contract" / "children"
#: Of Keras's MobileNetV3Small, on the zoo's textures in twice their size.
EPOCHS, BATCH, RATE, SIDE = 14, 128, 4e-3, 64


def user(file: str, function: str, metric: str, *outputs: str) -> dict[str, Any]:
    """A model and its data as functions of one Python file."""
    found = {side: f"{CHILDREN / file}:{side}" for side in ("calibration", "evaluation")}
    return {
        "source": f"{CHILDREN / file}:{function}",
        "calibrate": found["calibration"],
        "evaluate": found["evaluation"],
        "metric": metric,
        "outputs": list(outputs),
        "trust": True,
    }


def keras_model() -> dict[str, Any]:
    """``keras.applications.MobileNetV3Small``, trained where it was not yet, and its data."""
    folder = home() / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"mobilenet_v3_small-{EPOCHS}x{BATCH}.keras"
    if not file.exists():
        code = f"from benchmarks.mixed import train; train({str(file)!r})"
        variables = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, check=True)
    splits = {side: [pictures(split) for split in of] for side, of in SPLITS.items()}
    for side, found in splits.items():
        x, y = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        np.savez(folder / f"{side}.npz", image=x, **({"y": y} if side == "evaluate" else {}))
    return {"source": str(file), **{side: str(folder / f"{side}.npz") for side in SPLITS}}


#: Of the task's samples those that are handed in; edgekit splits what evaluates into selection and test.
SPLITS: dict[str, tuple[tasks.Split, ...]] = {"calibrate": ("calibration",), "evaluate": ("test", "selection")}


def pictures(split: tasks.Split) -> tuple[Any, Any]:
    """Textures as the model takes them, 0 to 255, and their classes."""
    found = tasks.load("textures", split)
    x = (found.inputs["image"] + 1) * 127.5
    times = SIDE // x.shape[1]
    return x.repeat(times, axis=1).repeat(times, axis=2), found.labels


def train(file: str) -> None:
    """Train Keras's model; its batch norms, made for days of training, average over fewer steps."""
    import keras

    keras.utils.set_random_seed(0)
    x, y = pictures("train")
    shape = (SIDE, SIDE, 3)
    model = keras.applications.MobileNetV3Small(
        input_shape=shape, weights=None, classes=10, classifier_activation=None, dropout_rate=0.0
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    steps = len(x) // BATCH * EPOCHS
    rate = keras.optimizers.schedules.CosineDecay(1e-6, steps, warmup_target=RATE, warmup_steps=steps // 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    model.save(file)


@dataclass(frozen=True)
class Model:
    """A model: what ``edgekit.convert`` is told of it, and how the table calls it."""

    called: str
    told: Callable[[], dict[str, Any]] = field(repr=False)


MODELS = {
    "endless_mask": Model(
        "decoder with a mask of -inf", lambda: user("structural.py", "endless_mask", "perplexity")
    ),
    "char_llama": Model("zoo `char_llama`", lambda: {"source": "char_llama@torch"}),
    "mobilenet_v3": Model("zoo `mobilenet_v3`", lambda: {"source": "mobilenet_v3@torch"}),
    "keras_mobilenet_v3": Model("Keras's `MobileNetV3Small`", keras_model),
    "one_head": Model(
        "detector, boxes and scores in one tensor",
        lambda: user("one_head.py", "detector", "map", "output=boxes+scores"),
    ),
    "bert": Model("zoo `bert`", lambda: {"source": "bert@torch"}),
    "gpt": Model("zoo `gpt`", lambda: {"source": "gpt@torch"}),
}  # fmt: skip
TARGETS = ("tflite-int8", "onnxruntime-int8", "openvino-int8", "executorch-int8")
CELLS = tuple((model, target) for model in MODELS for target in TARGETS)


def row_of(result: Result) -> dict[str, Any]:
    """What a table, and whoever doubts it, wants to know."""
    layers = [layer for part in result.parts.values() for layer in part.audit.layers if layer.kind != "embedding"]
    mixed = [note for note in result.notes if note.startswith("mixed precision: ")]
    row: dict[str, Any] = {
        "status": result.status, "flags": list(result.flags), "reason": result.reason, "route": result.route,
        "plainly": result.status == "PASS" and not (mixed or result.kept_float),
        "kept": [layer.name for layer in result.kept_float], "kept_macs_share": result.kept_macs_share,
        "products": len(layers), "products_in_integers": sum(layer.in_integers for layer in layers),
        "macs_in_integers": result.audit.macs_quantized_share if result.audit else None,
        "in_float": result.audit.ops_float if result.audit else None,
        "tried": [[tried.route, tried.status] for tried in result.routes_tried],
    }  # fmt: skip
    if a := result.accuracy:
        row |= {"metric": a.metric, "n": a.samples, "float": a.float_, "artifact": a.artifact}
        row |= {"drop": a.drop, "drop_ci95": list(a.drop_ci95)}
    if t := result.latency:
        row |= {"cpu_ratio": t.ratio, "cpu_ratio_ci95": list(t.ratio_ci95), "verdict": t.verdict}
        row |= {"float_cpu_ms": t.float_cpu_ms}
    return row


def measured(model: str, target: str, workers: Workers) -> dict[str, Any]:
    """One cell."""
    row: dict[str, Any] = {"model": model, "target": target}
    with tempfile.TemporaryDirectory() as folder:
        told = {"output": Path(folder) / "out", "allow_mixed": True, "workers": workers, "store": Store()}
        told |= MODELS[model].told()
        try:
            return row | row_of(edgekit.convert(told.pop("source"), target, **told))
        except EdgekitError as error:
            return row | {"status": error.code.upper(), "reason": str(error)}


def done() -> dict[tuple[str, str], dict[str, Any]]:
    """The newest row of each cell."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    found = {(row["model"], row["target"]): row for row in map(json.loads, lines)}
    return {cell: found[cell] for cell in CELLS if cell in found}


def table() -> str:
    """The newest rows in Markdown."""
    lines = [
        "| model | target | lost (95 % interval) | n | how | layers higher, of MACs | matmuls in int8 | CPU time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (model, target), row in done().items():
        unit = "%" if row.get("metric") == "perplexity" else "points"
        loss = row["status"]
        if row["status"] == "PASS" and "drop" in row:
            low, high = (f"{100 * end:.2f}" for end in row["drop_ci95"])
            loss = f"{100 * row['drop']:.2f} {unit} ({low} to {high})"
        how = "plainly" if row.get("plainly") else f"`{row.get('route')}`"
        kept = f"{len(row.get('kept', ()))}, {row.get('kept_macs_share') or 0:.1%}"
        products = f"{row.get('products_in_integers')} of {row.get('products')}"
        words = {"TOO_SMALL_TO_TELL": ", too small to tell", "SLOWER": ", SLOWER"}.get(row.get("verdict", ""), "")
        ratio = f"{row['cpu_ratio']:.2f}x{words}" if "cpu_ratio" in row else ""
        cells = (MODELS[model].called, f"`{target}`", loss, row.get("n", ""), how, kept, products, ratio)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def page() -> None:
    """Put the table into its place."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Measure the cells that have no row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("what", nargs="?", choices=("measure", "page"), default="measure")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--again", action="store_true", help="also those that have a row")
    given = parser.parse_args()
    if given.what == "page":
        return page()
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    known = done()
    with Workers() as workers:
        for model, target in CELLS:
            if model not in given.models or target not in given.targets:
                continue
            if given.again or (model, target) not in known:
                row = measured(model, target, workers) | {"commit": head.stdout.strip()}
                row |= {"date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")}
                with RESULTS.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    return None


if __name__ == "__main__":
    main()
