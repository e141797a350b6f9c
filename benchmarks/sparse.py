"""What pruning single weights and groups costs, against the equally long fine-tuned float model, and what it gains.

    python benchmarks/sparse.py [--models resnet ...] [--framework torch] [--patterns 0.5 0.5@layer 2:4] [--epochs 3]
    python benchmarks/sparse.py --files [--models resnet ...] [--patterns 0.5 2:4] [--targets tflite-fp32 ...]

A row: one model of the zoo, trained on the same samples in the same order with the same settings, once in float and
once with zeros, by the step that ``edgekit convert --prune`` runs; and the float model pruned at once, with no training
behind it. ``@layer`` takes the smallest weights of each layer, not of all. All are run in their framework on the same
test samples, which chose nothing. With ``--files`` edgekit converts by ``--prune``: zeros are counted in the file, its
bytes and its time held against the same target without pruning. Rows are appended to
``benchmarks/results/sparse.jsonl``.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import edgekit
from benchmarks import rows
from benchmarks.trials import Trial, appended
from edgekit import zoo
from edgekit.compress.prune import patterns
from edgekit.compress.prune.patterns import Pruning
from edgekit.jobs.workers import Limits, Workers

RESULTS = rows.RESULTS / "sparse.jsonl"
SAMPLES = 2000
MODELS = ("resnet", "mobilenet_v2", "char_llama")
PATTERNS = ("0.5", "0.5@layer", "0.75", "0.75@layer", "2:4")
TARGETS = (
    "tflite-fp32",
    "tflite-int8",
    "onnxruntime-int8",
    "openvino-int8",
    "executorch-int8",
    "coreml-fp32",
    "coreml-int8-weights",
    "tensorrt-int8",
)
RAMP = 0.5
#: Seconds that the trainings of one model may take together.
LONGEST = 4 * 3600.0


def measure(
    folder: str, model: str, framework: str, epochs: int, learning_rate: float, asked: list[str], ramp: float
) -> list[dict[str, Any]]:
    """The figures of one model, in a child of PyTorch."""
    from edgekit.compress.prune import zeros
    from edgekit.frameworks.once import forget

    trial, training = (
        Trial.of(folder, model, framework, SAMPLES),
        zoo.Training(epochs=epochs, learning_rate=learning_rate),
    )
    outputs, compared = trial.outputs, trial.compared
    before = outputs(trial.loaded(trial.source))
    _, fine_tuned, facts = trial.trained("float", training)
    ran = outputs(trial.loaded(fine_tuned))
    found = []
    for text in asked:
        pattern, _, scope = text.partition("@")
        pruning = Pruning(patterns.parse(pattern), "layer" if scope else "global", ramp)
        made, source, own = trial.trained(text.replace(":", "-"), training, pruning=pruning)
        after = outputs(trial.loaded(source))
        forget()
        loaded = trial.loaded(fine_tuned)
        layers, left, _ = zeros.find(loaded, pruning.pattern)
        zeros.Growing(layers, pruning.pattern, together=not scope, steps=1, ramp=0, held=False).finish()
        at_once = outputs(loaded)
        forget()
        found.append({
            "pattern": pattern, "scope": scope or "global", "ramp": ramp, "metric": trial.metric.name, "samples": SAMPLES,
            "layers": len(made.pruned), "left": left,
            "zeros": sum(one.zeros for one in made.pruned) / sum(one.weights for one in made.pruned),
            "most_in_a_layer": max(one.zeros / one.weights for one in made.pruned),
            "float": facts, "pruned": own, "source_to_float": compared(before, ran),
            "float_to_pruned": compared(ran, after), "float_to_at_once": compared(ran, at_once),
        })  # fmt: skip
    return found


def files(model: str, framework: str, pattern: str, target: str, workers: Workers) -> dict[str, Any]:
    """The figures of one file, run by its runtime on the test split."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "artifact"
        made = edgekit.convert(f"{model}@{framework}", target, prune=pattern, output=output, workers=workers)
    layers = made.audit.layers if made.audit else ()
    pruned = made.recipe.pruned if made.recipe else ()
    accuracy = made.accuracy
    return {
        "pattern": pattern,
        "target": target,
        "status": made.status,
        "reason": made.reason,
        "zeros_asked": sum(layer.zeros for layer in pruned) if pruned else None,
        "zeros_in_file": round(sum((layer.zeros or 0) * math.prod(layer.shape) for layer in layers)),
        "weights": sum(math.prod(layer.shape) for layer in layers),
        "accuracy": accuracy and accuracy.model_dump(mode="json", by_alias=True),
        "gain": made.gain and made.gain.model_dump(mode="json"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--patterns", nargs="+", default=PATTERNS)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--ramp", type=float, default=RAMP)
    parser.add_argument("--files", action="store_true", help="convert instead, and run the files")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    given = parser.parse_args()
    for model in given.models:
        if given.files:
            for pattern, target in [(pattern, target) for pattern in given.patterns for target in given.targets]:
                with Workers() as workers:
                    row = files(model, given.framework, pattern, target, workers)
                appended(RESULTS, {"model": model, "framework": given.framework, **row})
                print(model, pattern, target, row["status"], row["reason"], row["gain"] and row["gain"]["words"])
            continue
        asked = {"model": model, "framework": given.framework, "epochs": given.epochs}
        arguments = {**asked, "learning_rate": given.learning_rate, "asked": list(given.patterns), "ramp": given.ramp}
        with Workers(Limits(LONGEST)) as workers, tempfile.TemporaryDirectory() as folder:
            environment = "torch" if given.framework == "torch" else "keras-torch"
            found = workers.call(environment, "benchmarks.sparse:measure", {"folder": folder, **arguments}).value
        for row in found:
            appended(RESULTS, {**asked, "learning_rate": given.learning_rate, **row})
            behind, at_once = row["float_to_pruned"], row["float_to_at_once"]
            print(
                f"{model} {row['pattern']} {row['scope']}: {behind['drop']:+.4f} {behind['drop_ci95']} behind float, "
                f"{at_once['drop']:+.4f} at once, {row['pruned']['cpu_seconds']} s"
            )


if __name__ == "__main__":
    main()
