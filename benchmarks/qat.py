"""What training with weights on the grid of ``tflite-int4`` gains, against the equally long fine-tuned float model.

    python benchmarks/qat.py [--models resnet ...] [--framework torch] [--epochs 3]
    python benchmarks/qat.py --files [--models resnet ...] [--framework torch]

A row: one model of the zoo, trained twice on the same samples in the same order with the same settings, once in float
and once with its weights on the grid; both by the step that ``edgekit convert --recipe`` runs. The float model is then
rounded to the nearest point of the grid, as a converter does. All are run in their framework on the same test samples,
which chose nothing: weights are those that a file holds, activations are float here. With ``--files`` edgekit converts
by the recipes as they are packaged, the fine-tuned model with each way of rounding; the files are run by their runtime.
Rows are appended to ``benchmarks/results/qat.jsonl``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import edgekit
from benchmarks import rows
from benchmarks.trials import Trial, appended
from edgekit import target as targets
from edgekit import zoo
from edgekit.jobs.workers import Workers

RESULTS = rows.RESULTS / "qat.jsonl"
SAMPLES = 2000
MODELS = ("resnet", "unet", "mobilenet_v2", "mobilenet_v3")
TARGET = "tflite-int4"


def measure(folder: str, model: str, framework: str, epochs: int, learning_rate: float) -> dict[str, Any]:
    """The figures of one row, in a child of PyTorch."""
    from edgekit.compress import qat
    from edgekit.compress.fakequant import grid_of

    target, trial = targets.load(TARGET), Trial.of(folder, model, framework, SAMPLES)
    found: dict[str, Any] = {"metric": trial.metric.name, "samples": SAMPLES}
    ran = {"source": trial.outputs(trial.loaded(trial.source))}
    training, folds = zoo.Training(epochs=epochs, learning_rate=learning_rate), framework == "keras"
    for name, scheme in (("qat", target.scheme), ("float", None)):
        made, source, facts = trial.trained(name, training, scheme=scheme, kinds=target.layers, fold_norms=folds)
        found[name] = {**facts, "layers": made.layers}
        loaded = trial.loaded(source)
        ran[name] = trial.outputs(loaded)
        if scheme is None:
            layers, _ = qat.find_layers(loaded, lambda _, *layer: grid_of(target.scheme, target.layers, *layer))
            with qat.quantized(layers):
                ran["rounded"] = trial.outputs(loaded)
    compared = trial.compared
    return {
        **found,
        "source_to_float": compared(ran["source"], ran["float"]),
        "float_to_rounded": compared(ran["float"], ran["rounded"]),
        "float_to_qat": compared(ran["float"], ran["qat"]),
        "qat_to_rounded": compared(ran["qat"], ran["rounded"]),
    }


#: How a file comes about: by the recipes as they are packaged.
HOW: dict[str, dict[str, Any]] = {
    "qat": {"recipe": "qat"},
    "finetune, nearest": {"recipe": "finetune", "rounding": "nearest"},
    "finetune, gptq": {"recipe": "finetune", "rounding": "gptq"},
}


def files(model: str, framework: str, how: str, workers: Workers) -> dict[str, Any]:
    """The figures of one file, run by its runtime on the test split."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "artifact"
        made = edgekit.convert(
            f"{model}@{framework}", TARGET, output=output, latency=False, workers=workers, **HOW[how]
        )
    accuracy, parity = made.accuracy, made.parity
    return {
        "how": how,
        "status": made.status,
        "reason": made.reason,
        "accuracy": accuracy and accuracy.model_dump(mode="json", by_alias=True),
        "parity": parity and {"sqnr_db": parity.sqnr_db, "reference": parity.reference, "samples": parity.samples},
        "size_bytes": made.size_bytes,
        "float_size_bytes": made.float_size_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--files", action="store_true", help="convert by each recipe instead, and run the files")
    given = parser.parse_args()
    for model, how in [(model, how) for model in given.models for how in HOW] if given.files else ():
        with Workers() as workers:
            row = files(model, given.framework, how, workers)
        appended(RESULTS, {"model": model, "framework": given.framework, **row})
        print(model, how, row["status"], row["accuracy"])
    for model in given.models if not given.files else ():
        asked = {"model": model, "framework": given.framework, "epochs": given.epochs}
        with Workers() as workers, tempfile.TemporaryDirectory() as folder:
            environment = "torch" if given.framework == "torch" else "keras-torch"
            arguments = {"folder": folder, **asked, "learning_rate": given.learning_rate}
            answer = workers.call(environment, "benchmarks.qat:measure", arguments)
        row = {**asked, "learning_rate": given.learning_rate, **answer.value}
        appended(RESULTS, row)
        gained, behind = row["qat_to_rounded"], row["float_to_qat"]
        print(f"{model}: {gained['drop']:+.4f} {gained['drop_ci95']} over rounding, {behind['drop']:+.4f} behind float")


if __name__ == "__main__":
    main()
