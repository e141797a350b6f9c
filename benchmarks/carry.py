"""What of a model that was trained with fake quantization comes into each format's file, and how close that file is.

    python -m benchmarks.carry [--models resnet ...] [--frameworks torch keras] [--targets onnxruntime-int8 ...]
    python -m benchmarks.carry --page        rewrites the table of docs/recipes.md

A cell: one model of the zoo, trained by the recipe ``qat`` for one target, and the file that edgekit chose. The file is
run by its runtime on the test samples, which chose nothing, and is held against the checkpoint as training had it: its
weights on the grid and, where ranges of activations were trained, these too. ``agreement`` is the share of positions
at which both have the same largest value. Rows are appended to ``benchmarks/results/carry.jsonl``.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import edgekit
from benchmarks import rows
from edgekit import api, pipeline, toolchains
from edgekit import target as targets
from edgekit.conversion import adjusting
from edgekit.conversion.recipe import carrying
from edgekit.errors import EdgekitError
from edgekit.handed import Handed
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.proof import execution
from edgekit.signature import WHOLE
from edgekit.steps.recipe import places

RESULTS = rows.RESULTS / "carry.jsonl"
PAGE = rows.RESULTS.parents[1] / "docs" / "recipes.md"
START, END = "<!-- carried -->", "<!-- /carried -->"
MODELS = ("resnet", "mobilenet_v2", "unet", "mobilenet_v3", "char_llama")
STATIC = ("onnxruntime-int8", "openvino-int8", "tflite-int8", "executorch-int8", "tensorrt-int8", "coreml-int8")
WEIGHTS = ("tflite-int8-dynamic", "onnxruntime-int8-dynamic", "openvino-int8-weights", "tflite-int4", "openvino-int4")
FRAMEWORKS = ("torch", "keras")
#: Least SQNR where all is carried, and where ranges of activations are found anew; least agreement.
CARRIED, DERIVED, AGREED = 40.0, 21.0, 0.99


def measured(model: str, framework: str, target: str, epochs: int, workers: Workers, store: Store) -> dict[str, Any]:
    """The figures of one cell."""
    files = Handed(f"{model}@{framework}", None, {}, ())
    order = api._order(files, target, None, "top1", (), (), trust=False)
    order = dataclasses.replace(order, recipe=api._recipe(None, epochs, None), latency=False)
    with store.lease() as lease:
        run = Run(workers, lease, lambda event, label: None)
        outcome = pipeline.explore(run, order)
        chosen, test, checkpoint = outcome.tested, outcome.samples[-1], outcome.checkpoint
        if chosen is None or chosen.execution is None:
            tried = outcome.chosen or outcome.candidates[-1]
            return {"status": tried.status, "reason": tried.reason, "route": tried.route}
        signature = checkpoint.signatures[WHOLE]
        expected, found = Path(test.outputs), chosen.execution.file("")
        ranges = checkpoint.ranges if any(part.given for part in chosen.parts.values()) else ()
        in_float = execution.compare(expected, found, checkpoint.signatures)[WHOLE].sqnr_db
        if ranges:
            child = adjusting.able(checkpoint)
            assert child is not None
            biases = toolchains.integer_biases(order.target.toolchain)
            asked = places.OnStepsRequest(
                source=checkpoint.parts[WHOLE], environment=child, ranges=checkpoint.on_steps,
                scheme=order.target.scheme, kinds=order.target.layers, layers=order.layers, biases=biases,
                samples=test.file,
            )  # fmt: skip
            expected = run.step(places.on_steps, child, "reference:on steps", asked).file("")
        parity = execution.compare(expected, found, checkpoint.signatures)[WHOLE]
        output = checkpoint.classes(WHOLE, scored=True)[0]
        facts = carrying.as_in_file(checkpoint, chosen)
        assert facts is not None and chosen.evidence is not None
        return {
            "status": chosen.status,
            "reason": chosen.reason,
            "route": chosen.route,
            "weights": "carried",
            "activations": facts.steps[-1].activations,
            "ranges": len(ranges),
            "on_steps": len(checkpoint.on_steps) if ranges else 0,
            "samples": test.count,
            "sqnr_db": parity.sqnr_db,
            "sqnr_db_activations_in_float": in_float,
            "notes": list(checkpoint.notes),
            "agreement": execution.agreement(expected, found, signature, output),
            "by": chosen.evidence.by,
            "stand_in": chosen.evidence.stand_in,
            "accuracy": chosen.evidence.accuracy and chosen.evidence.accuracy.model_dump(mode="json", by_alias=True),
            "cpu_seconds": run.ledger.cpu_seconds,
        }


def cell(model: str, framework: str, target: str, epochs: int, workers: Workers, store: Store) -> dict[str, Any]:
    """The row of one cell; what cannot be done is its reason."""
    head = {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "edgekit": edgekit.__version__,
        "model": model, "framework": framework, "target": target, "epochs": epochs,
    }  # fmt: skip
    try:
        return head | measured(model, framework, target, epochs, workers, store)
    except EdgekitError as error:
        return head | {"status": type(error).__name__.removesuffix("Error").upper(), "reason": str(error)}


def newest() -> dict[tuple[str, str, str], dict[str, Any]]:
    """The newest row of each cell."""
    read = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {(row["model"], row["framework"], row["target"]): row for row in read}


def table() -> str:
    """A line per target: what is carried, the least of its cells, and what misses its bar."""
    found = newest()
    lines = [
        "| target | weights | ranges of activations | cells | SQNR, least to most | agreement, least | beside the bar |",
        "|---|---|---|---|---|---|---|",
    ]
    for target in (*STATIC, *WEIGHTS):
        cells = {key[:2]: row for key, row in found.items() if key[2] == target}
        for how in sorted({row.get("activations", "") for row in cells.values()} - {""}):
            these = {key: row for key, row in cells.items() if row.get("activations") == how}
            bar = CARRIED if how == "carried" else DERIVED
            missed = [
                f"{'@'.join(key)} ({row['sqnr_db']:.1f} dB, {row['agreement']:.2%})"
                for key, row in these.items()
                if row["sqnr_db"] < bar or row["agreement"] < AGREED
            ]
            least, most = (f(row["sqnr_db"] for row in these.values()) for f in (min, max))
            agreed = min(row["agreement"] for row in these.values())
            cells_of = (
                f"`{target}`", "carried", _WORDS[how], str(len(these)), f"{least:.1f} to {most:.1f} dB",
                f"{agreed:.2%}", ", ".join(missed) or "none",
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells_of)} |")
        for key, row in cells.items():
            if "sqnr_db" not in row:
                lines.append(f"| `{target}` | | | {'@'.join(key)} | {row['status']}: {row['reason']} | | |")
    return "\n".join(lines)


#: How the manifest's word is said.
_WORDS = {
    "carried": "carried", "calibrated": "re-derived by calibration", "dynamic": "found at run time", "float": "float",
}  # fmt: skip


def page() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{START}\n{table()}\n{END}{after}", "utf-8")


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--targets", nargs="+", choices=targets.names(), default=(*STATIC, *WEIGHTS))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--page", action="store_true", help="write the table instead")
    given = parser.parse_args()
    if given.page:
        page()
        return
    asked = [(m, f, t) for m in given.models for f in given.frameworks for t in given.targets]
    with Workers() as workers:
        for named in asked:
            row = cell(*named, given.epochs, workers, Store())
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(*named, row["status"], row.get("sqnr_db"), row.get("agreement"), row["reason"], flush=True)


if __name__ == "__main__":
    main()
