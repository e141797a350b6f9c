"""What taking channels out costs, against the equally long trained wide model and the same narrow one from scratch.

    python benchmarks/prune.py [--models resnet ...] [--framework torch] [--ratios 0.5 0.25] [--epochs 5]
    python benchmarks/prune.py --sizes [--models resnet:resnet18 mobilenet_v2:reference] [--targets tflite-fp32 ...]

A row: one model of the zoo, trained on the same samples in the same order with the same settings three times: as it is,
without some of its channels, and as narrow as that with weights that are drawn anew; each by the step that
``edgekit convert --recipe`` runs. All are run in their framework on the same test samples, which chose nothing.

With ``--sizes`` the paper's sizes are converted, wide and narrow, with random weights: their files' bytes, and their
latency in turns, in CPU time. Rows are appended to ``benchmarks/results/prune.jsonl``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import edgekit
from benchmarks import rows
from benchmarks.trials import Trial, appended
from edgekit import zoo
from edgekit.jobs.workers import Workers
from edgekit.sources import source as sources
from edgekit.sources.source import Source

RESULTS = rows.RESULTS / "prune.jsonl"
SAMPLES = 2000
#: The models of the bar, and which of their inner channels stay: of MobileNets expansions and the head go alone.
MODELS: dict[str, tuple[str, ...]] = {
    "resnet": (),
    "mobilenet_v2": ("*project*", "stem*"),
    "unet": (),
    "mobilenet_v3": ("*project*", "stem*"),
}

#: What the paper's sizes are converted to.
TARGETS = [f"{f}-{p}" for f in ("tflite", "onnxruntime", "openvino", "executorch") for p in ("fp32", "int8")]


def measure(
    folder: str, model: str, framework: str, ratios: list[float], epochs: int, learning_rate: float, batch: int
) -> list[dict[str, Any]]:
    """The figures of one model, a row for each ratio, in a child of PyTorch."""
    from edgekit.frameworks.once import forget
    from edgekit.frameworks.once import framework as module_of
    from edgekit.steps.recipe import channels

    trial = Trial.of(folder, model, framework, SAMPLES)
    place, source, environment, compared = trial.place, trial.source, trial.environment, trial.compared
    training = zoo.Training(epochs=epochs, batch=batch, learning_rate=learning_rate)

    def outputs(of: Source) -> np.ndarray:
        return trial.outputs(trial.loaded(of))

    def trained(of: Source, name: str) -> tuple[np.ndarray, dict[str, Any]]:
        _, ended, facts = trial.trained(name, training, of)
        return outputs(ended), facts

    ran = {"source": outputs(source)}
    ran["wide"], of_wide = trained(source, "wide")
    found = []
    for ratio in ratios:
        at, anew = place / f"cut-{ratio}", place / f"anew-{ratio}"
        at.mkdir()
        anew.mkdir()
        made = channels.narrowed(at, channels.CutRequest(source, environment, ratio, MODELS[model], False, False))
        narrow = sources.with_weights(source, at / made.file)
        ran["cut"] = outputs(narrow)
        ran["pruned"], of_pruned = trained(narrow, f"pruned-{ratio}")
        loaded = trial.loaded(narrow)
        drawn = _drawn_anew(loaded)
        file = module_of(environment).save_others(loaded, drawn, anew)
        forget()
        ran["scratch"], of_scratch = trained(sources.with_weights(source, file), f"scratch-{ratio}")
        found.append(
            {
                "ratio": ratio, "metric": trial.metric.name, "samples": SAMPLES, "parameters": list(made.parameters),
                "widths": [[w.name, w.before, w.after] for w in made.widths], "exact": made.error,
                "wide": of_wide, "pruned": of_pruned, "scratch": of_scratch,
                "source_to_wide": compared(ran["source"], ran["wide"]),
                "wide_to_cut": compared(ran["wide"], ran["cut"]),
                "wide_to_pruned": compared(ran["wide"], ran["pruned"]),
                "scratch_to_pruned": compared(ran["scratch"], ran["pruned"]),
            }
        )  # fmt: skip
    return found


def _drawn_anew(loaded: Any) -> list[np.ndarray]:
    """Weights as the framework draws them for a new model of these shapes."""
    if loaded.framework == "keras":
        import keras

        return [variable.numpy() for variable in keras.models.clone_model(loaded.native).weights]
    import torch

    torch.manual_seed(1)
    for module in loaded.native.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return [tensor.detach().numpy() for tensor in loaded.native.state_dict().values()]


def made(folder: str, model: str, ratio: float) -> dict[str, Any]:
    """A model of the paper's size with random weights, wide and narrow, as files; in a child of PyTorch."""
    from edgekit.sources import source as sources
    from edgekit.steps.recipe import channels, save

    place, source = Path(folder), sources.with_framework(sources.resolve(model), "torch")
    for name in ("wide", "narrow", "weights"):
        (place / name).mkdir()
    save.save(place / "wide", save.SaveRequest(source, "torch"))
    answer = channels.narrowed(place / "weights", channels.CutRequest(source, "torch", ratio, (), True, False))
    save.save(
        place / "narrow", save.SaveRequest(sources.with_weights(source, place / "weights" / answer.file), "torch")
    )
    return {"parameters": list(answer.parameters), "exact": answer.error}


def files_of(folder: str) -> str:
    """The model in an artifact's folder, accepted or not: with random weights some gates cannot be passed."""
    [found] = [path for path in Path(folder).iterdir() if path.suffix in (".tflite", ".onnx", ".xml", ".pte")]
    return str(found)


def timed(folder: str, target: str, files: dict[str, str]) -> dict[str, Any]:
    """Both files in turns, as the pipeline times a file and its float twin; in a child of runtimes."""
    from edgekit import target as target_files
    from edgekit.signature import WHOLE, Signature, TensorSpec
    from edgekit.steps import latency
    from edgekit.toolchains import Options

    chosen = target_files.load(target)
    name, options = "image", Options(chosen.scheme)
    samples = Path(folder) / "one.npz"
    np.savez(samples, **{f"x/{name}": np.zeros((1, 3, 224, 224), "float32")})
    signature = Signature((TensorSpec(name, (1, 3, 224, 224), "float32"),), ())
    request = latency.Request(
        chosen.toolchain, {WHOLE: Path(files["narrow"])}, options, {WHOLE: Path(files["wide"])}, options,
        {WHOLE: samples}, {WHOLE: signature},
    )  # fmt: skip
    return latency.run(Path(folder), request).model_dump(mode="json")


def sizes(model: str, ratio: float, targets: list[str]) -> None:
    """A row for each target: bytes of the wide and of the narrow file, and their latency side by side."""
    with Workers() as workers, tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        said = workers.call("torch", "benchmarks.prune:made", {"folder": folder, "model": model, "ratio": ratio}).value
        images = np.random.default_rng(0).standard_normal((32, 3, 224, 224)).astype("float32")
        np.savez(place / "images.npz", x=images)
        for target in targets:
            found, folders = {}, {}
            for name in ("wide", "narrow"):
                output = place / f"{target}-{name}"
                result = edgekit.convert(
                    str(place / name / "model.pt2"), target, output=output, latency=False, trust=True, workers=workers,
                    calibrate=None if target.endswith("fp32") else str(place / "images.npz"),
                )  # fmt: skip
                found[name] = {
                    "status": result.status, "reason": result.reason, "bytes": result.size_bytes,
                    "float_bytes": result.float_size_bytes,
                }  # fmt: skip
                folders[name] = str(result.artifact or result.rejected)
            begun = [round(x, 1) for x in os.getloadavg()]
            given = {"target": target, "files": {name: files_of(folder) for name, folder in folders.items()}}
            compared = workers.call("runtime", "benchmarks.prune:timed", {**given, "folder": folder}).value
            row = {"model": model, "framework": "torch", "ratio": ratio, "residual": True, "target": target, **said}
            appended(RESULTS, {**row, "files": found, "load": begun, "latency": compared})
            share = found["narrow"]["bytes"] / (found["wide"]["float_bytes"] or found["wide"]["bytes"])
            print(
                model,
                target,
                f"{share:.4f} of the wide fp32 file;",
                compared["ratio"],
                compared["ratio_ci95"],
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--ratios", nargs="+", type=float, default=[0.5, 0.25])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--sizes", action="store_true", help="convert the paper's sizes instead, wide and narrow")
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    given = parser.parse_args()
    for model in given.models if given.sizes else ():
        sizes(model, given.ratios[0], given.targets)
    for model in given.models if not given.sizes else ():
        asked = {"model": model, "framework": given.framework, "epochs": given.epochs}
        asked |= {"learning_rate": given.learning_rate, "batch": given.batch}
        with Workers() as workers, tempfile.TemporaryDirectory() as folder:
            environment = "torch" if given.framework == "torch" else "keras-torch"
            arguments = {"folder": folder, "ratios": given.ratios, **asked}
            answer = workers.call(environment, "benchmarks.prune:measure", arguments)
        for row in answer.value:
            appended(RESULTS, {**asked, "load": round(os.getloadavg()[0], 1), **row})
            behind, over = row["wide_to_pruned"], row["scratch_to_pruned"]
            print(
                f"{model} {row['ratio']}: {behind['drop']:+.4f} {behind['drop_ci95']} behind the wide model, "
                f"{-over['drop']:+.4f} {over['drop_ci95']} (drop) over scratch, parameters {row['parameters']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
