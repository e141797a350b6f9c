"""One hard model from float to 4 bits and to a narrow int8 file, with its real curves: docs/journey.md.

    python -m benchmarks.journey make       converts, and appends rows to results/journey.jsonl
    python -m benchmarks.journey page       rewrites docs/journey.md and docs/journey.svg

MobileNetV3 loses most of the zoo under a vendor's 4 bits. Each way is what the command line does; the test split is run
once, by the file that is handed out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import edgekit
from benchmarks import rows
from edgekit.bench import stamp

RESULTS = rows.RESULTS / "journey.jsonl"
DOCS = Path(__file__).parent.parent / "docs"
PAGE, PLOT = DOCS / "journey.md", DOCS / "journey.svg"
MODEL = "mobilenet_v3@torch"
#: What it is called, target, and options of ``edgekit convert``.
WAYS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("float", "tflite-fp32", {}),
    ("int8", "tflite-int8", {}),
    ("4 bits, to the nearest", "tflite-int4", {"rounding": "nearest"}),
    ("4 bits", "tflite-int4", {}),
    ("4 bits, trained on the grid", "tflite-int4", {"qat": 3}),
    ("narrow float", "tflite-fp32", {"prune": "channels:0.5"}),
    ("narrow int8", "tflite-int8", {"prune": "channels:0.5"}),
)


def make() -> None:
    """Convert by each way."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, target, options) in enumerate(WAYS):
            result = edgekit.convert(MODEL, target, output=Path(folder) / str(number), **options)
            command = " ".join(f"--{option} {value}" for option, value in options.items())
            row = {
                "at": stamp.now(), "commit": stamp.code().commit, "processor": result.host.processor, "name": name,
                "command": f"edgekit convert {MODEL} --target {target} {command}".strip(), "status": result.status,
                "reason": result.reason, "size_bytes": result.size_bytes, "float_size_bytes": result.float_size_bytes,
                "parity": result.parity and {"sqnr_db": result.parity.sqnr_db, "reference": result.parity.reference},
                "accuracy": result.accuracy and result.accuracy.model_dump(mode="json", by_alias=True),
                "latency": result.latency and result.latency.model_dump(mode="json"),
                "gain": result.gain and result.gain.model_dump(mode="json"),
                "steps": [step.model_dump(mode="json") for step in result.recipe.steps] if result.recipe else [],
            }  # fmt: skip
            with RESULTS.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(f"{row['command']}: {result.status} {result.reason}", flush=True)


def newest() -> list[dict[str, Any]]:
    """The last row of each way."""
    found = {row["name"]: row for row in map(json.loads, RESULTS.read_text().splitlines())}
    return [found[name] for name, _, _ in WAYS if name in found]


def table(found: list[dict[str, Any]]) -> list[str]:
    """What became of each way."""
    lines = [
        "| | command | status | top-1 on test | behind your model, points | file | CPU time, to its float twin |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        scored, timed = row["accuracy"], row["latency"]
        top1 = f"{scored['artifact']:.2%}, n = {scored['samples']}" if scored else "not measured: it failed before"
        drop = (
            f"{100 * scored['drop']:+.2f} ({100 * scored['drop_ci95'][0]:+.2f} to {100 * scored['drop_ci95'][1]:+.2f})"
            if scored else ""
        )  # fmt: skip
        ratio = (
            f"x {timed['ratio']:.2f} ({timed['ratio_ci95'][0]:.2f} to {timed['ratio_ci95'][1]:.2f})" if timed else ""
        )
        size = f"{row['size_bytes'] / 1e3:.1f} kB" if row["size_bytes"] and row["status"] == "PASS" else ""
        lines.append(f"| {row['name']} | `{row['command']}` | {row['status']} | {top1} | {drop} | {size} | {ratio} |")
    return lines


def curves(found: list[dict[str, Any]]) -> list[str]:
    """What training did, epoch by epoch."""
    lines: list[str] = []
    shown: list[Any] = []
    for row in found:
        for step in row["steps"]:
            if step["curve"] in shown:
                lines += ["", f"**{row['name']}**, step `{step['kind']}`: the same, from the store."]
                continue
            shown.append(step["curve"])
            lines += [
                "",
                f"**{row['name']}**, step `{step['kind']}`, {step['train_samples']} samples, "
                f"{step['cpu_seconds']:.0f} CPU s; epoch {step['kept']} is kept:",
                "",
                f"| epoch | loss | {step['metric']} on {step['selection_samples']} selection samples |",
                "|---|---|---|",
            ]
            for epoch in step["curve"]:
                loss = "" if epoch["loss"] is None else f"{epoch['loss']:.4f}"
                lines.append(f"| {epoch['epoch']} | {loss} | {epoch['value']:.4f} |")
            if narrowing := step.get("narrowing"):
                before, after = narrowing["parameters"]
                lines += [
                    "",
                    f"{len(narrowing['widths'])} layers became narrower: {before} numbers in all weights before, {after} "
                    f"after; the cut model gives what the whole one gives without these channels, to {narrowing['error']:.1e} of "
                    "the largest output.",
                ]  # fmt: skip
    return lines


def plot(found: list[dict[str, Any]]) -> None:
    """The curves of all ways, one line each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for row, marker in zip([row for row in found if row["steps"]], "os^Dv", strict=False):
        curve = [epoch for step in row["steps"] for epoch in step["curve"]]
        axes.plot(range(len(curve)), [100 * e["value"] for e in curve], marker=marker, label=row["name"])
    axes.set_xlabel("epoch (0: rounded, or cut, and not yet trained)")
    axes.set_ylabel("top-1 on selection, %")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(PLOT, metadata={"Date": None})


def page() -> None:
    """Write the page."""
    found = newest()
    plot(found)
    text = [
        "# From float to 4 bits, and to a narrow int8 file",
        "",
        "Written by `python -m benchmarks.journey page` from rows that `make` measured; do not edit. The model is the",
        "zoo's MobileNetV3, in PyTorch: squeeze-and-excite and hard-swish, the hardest of the zoo for 4 bits. Each line is",
        "one command; training is part of it. The selection split chooses routes and epochs; the test split is run once,",
        "by the file that is handed out. What recipes do stands in [recipes.md](recipes.md), rounding without training in",
        "[low-bits.md](low-bits.md).",
        "",
        *table(found),
        "",
        "The drop is against the model as you handed it in; a recipe trains on, so that it may be negative: against a model that",
        "is trained as long, trained on the grid or cut, stands in [recipes.md](recipes.md). The time is against the float file",
        "of the *same* checkpoint, of a narrow model against the narrow float; files of .1 ms, on a busy machine. LiteRT's int8",
        "of squeeze-and-excite and hard-swish is slower than its float on x86, and says so.",
        "",
        "## Curves",
        "",
        "![top-1 on selection by epoch](journey.svg)",
        *curves(found),
    ]
    PAGE.write_text("\n".join(text) + "\n")


def main() -> None:
    """Make, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("what", choices=("make", "page"))
    {"make": make, "page": page}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
