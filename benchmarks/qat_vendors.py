"""Quantization-aware training by the vendors' tools against ``--recipe``, on equal steps, in files that are run.

    python benchmarks/qat_vendors.py [--tools NNCF ...] [--models resnet ...] [--tfmot-python PYTHON]

A row: a model of the zoo, trained by a vendor's tool and by edgekit from the same weights on the same samples, in the
same order by the same seed, with the same optimizer, schedule and number of epochs. Of either the best epoch by the
selection split is kept, and becomes a file of the same format, the vendor's as its documentation makes it. Both are run
by the format's runtime on the same test samples, which chose nothing. TF-MOT knows Keras 2 alone: it runs on a Python
of its own, with TensorFlow, tf-keras and tensorflow-model-optimization. Rows are appended to
``benchmarks/results/qat_vendors.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import EdgekitError, FailedError

if TYPE_CHECKING:
    from edgekit.zoo import Training

#: Test samples of every row.
SAMPLES = 8000
#: Points, of perplexity per cent, that edgekit may be behind.
NEAR = 0.3


@dataclass(frozen=True)
class Tool:
    """What a vendor's tool trains: edgekit's target of the same format and width, models, and what edgekit is told."""

    target: str
    framework: str
    ending: str
    models: tuple[str, ...]
    options: Mapping[str, Any]


TOOLS = {
    "TF-MOT": Tool("tflite-int8", "keras", "tflite", ("mobilenet_v2", "resnet"), {}),
    "NNCF": Tool("openvino-int8", "torch", "xml", ("mobilenet_v2", "resnet", "unet"), {}),
    "torchao": Tool("executorch-int4", "torch", "pte", ("char_llama", "bert", "gpt"), {"allow_mixed": True}),
}


# What runs in children of PyTorch.


def fitted(module: Any, model: str, training: Training) -> dict[str, Any]:
    """Train a module that a tool has prepared, in place, by edgekit's own loop; its best epoch by selection is kept."""
    import torch

    from benchmarks import low_bits
    from edgekit import zoo
    from edgekit.compress.training import fitting
    from edgekit.data import tasks
    from edgekit.proof import metrics

    task = tasks.task(zoo.architecture(model).configs["tiny"].task)
    metric = metrics.metric(task.metric)
    train, selection = (low_bits._samples(model, s, task.sizes[s], "torch") for s in ("train", "selection"))
    losses, values, best = list[float](), list[float](), {}

    def measure() -> None:
        nonlocal best
        module.eval()
        with torch.no_grad():
            chunks = zip(*(torch.from_numpy(a).split(250) for a in selection.inputs.values()), strict=True)
            outputs = np.concatenate([module(*chunk).numpy() for chunk in chunks])
        values.append(float(metric.value(metric.score(selection.labels, low_bits._last(model, outputs, "torch")))))
        if values[-1] == (max if metric.higher_is_better else min)(values):
            best = {name: t.detach().clone() for name, t in module.state_dict().items() if torch.is_tensor(t)}

    def after(ended: fitting.Ended) -> None:
        losses.append(ended.loss)
        measure()

    inputs = [torch.from_numpy(array) for array in train.inputs.values()]
    parameters = [p for p in module.parameters() if p.requires_grad]
    with fitting.reproducible(training.seed):
        measure()
        fitting.fit(
            module, parameters, fitting.cross_entropy, inputs, fitting.tensor_of(train.labels), training,
            before=lambda epoch: module.train(), after=after,
        )  # fmt: skip
    module.load_state_dict(best, strict=False)
    module.eval()
    return {"losses": losses, "selection": values}


def nncf(model: str, out: str, training: dict[str, Any]) -> dict[str, Any]:
    """``nncf.quantize`` of the PyTorch model, training, and OpenVINO's conversion of it."""
    import nncf
    import openvino as ov
    import torch
    from nncf.torch.quantization import extensions

    from benchmarks import low_bits
    from edgekit.zoo import Training

    # Its own implementation in Python; the other is compiled, within 60 s.
    extensions.QuantizedFunctionsCPU._loaded_namespace = extensions.ReferenceQuantizedFunctions
    calibration = low_bits._samples(model, "calibration", low_bits.CALIBRATION, "torch").inputs
    rows = [tuple(map(torch.from_numpy, row.values())) for row in low_bits._each(calibration)]
    data = nncf.Dataset(rows, lambda row: row[0] if len(row) == 1 else row)
    prepared = nncf.quantize(low_bits._torch(model), data, subset_size=len(rows))
    found = fitted(prepared, model, Training(**training))
    converted = ov.convert_model(prepared, example_input=rows[0][0])
    converted.reshape(list(rows[0][0].shape))
    for name, port in (("x", converted.inputs[0]), ("y", converted.outputs[0])):
        port.get_tensor().set_names({name})
    ov.save_model(converted, out, compress_to_fp16=False)
    return found


def torchao(model: str, out: str, training: dict[str, Any]) -> dict[str, Any]:
    """``QATConfig`` around 8da4w by groups of 32, training, and ExecuTorch's program of it; tables in 8 bits."""
    import torch
    from torchao.quantization.granularity import PerAxis, PerGroup
    from torchao.quantization.qat import QATConfig
    from torchao.quantization.quant_api import Int8DynamicActivationIntxWeightConfig, IntxWeightOnlyConfig, quantize_

    from benchmarks import low_bits
    from edgekit.zoo import Training

    module = low_bits._torch(model)
    config = Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4, weight_granularity=PerGroup(32))
    quantize_(module, QATConfig(config, step="prepare"))
    found = fitted(module, model, Training(**training))
    quantize_(module, QATConfig(config, step="convert"))
    table = IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
    quantize_(module, table, lambda layer, _: isinstance(layer, torch.nn.Embedding))
    for layer in module.modules():
        if isinstance(layer, torch.nn.Embedding):  # whose kernel ends the process at indices of 32 bits
            layer.register_forward_pre_hook(lambda _, taken: (taken[0].long(),))
    first = next(low_bits._each(low_bits._samples(model, "calibration", 1, "torch").inputs))
    low_bits.lower(module, tuple(map(torch.from_numpy, first.values())), Path(out))
    return found


def executed(model: str, target: str, framework: str, file: str, out: str) -> str:
    """Run a file on the test samples; returns who ran it."""
    from benchmarks import low_bits
    from edgekit import target as targets

    outputs, by = low_bits.executed(model, targets.load(target).toolchain, framework, file, "test", SAMPLES)
    np.save(out, outputs)
    return by


def compared(model: str, theirs: str, ours: str) -> dict[str, Any]:
    """What ours loses against theirs."""
    from benchmarks import low_bits

    return low_bits.compared(model, np.load(theirs), np.load(ours), "test", SAMPLES)


def handed(model: str, out: str, training: dict[str, Any]) -> None:
    """What TF-MOT's Python is handed: weights by layer, samples, and the order in which edgekit's loop takes them."""
    import torch

    from benchmarks import low_bits
    from edgekit import zoo
    from edgekit.compress.training import fitting
    from edgekit.data import tasks
    from edgekit.frameworks import keras as keras_models
    from edgekit.sources import source as sources
    from edgekit.zoo import Training

    config = zoo.architecture(model).configs["tiny"]
    native = keras_models.load(sources.with_framework(sources.resolve(model), "keras")).native
    arrays = {f"w/{x.name}/{i}": w for x in native.layers for i, w in enumerate(x.get_weights())}
    sizes = tasks.task(config.task).sizes
    for split in ("train", "selection"):
        samples = low_bits._samples(model, split, sizes[split], "keras")
        [arrays[f"{split}/x"]] = samples.inputs.values()
        arrays[f"{split}/y"] = samples.labels
    settings = Training(**training)
    with fitting.reproducible(settings.seed):
        arrays["orders"] = np.stack([torch.randperm(sizes["train"]).numpy() for _ in range(settings.epochs)])
    steps = settings.epochs * (sizes["train"] // settings.batch)
    arrays["factors"] = np.array([fitting.factor(step, steps) for step in range(steps)])
    np.savez(out, **arrays)


# What runs in TF-MOT's Python.


def tfmot(model: str, given: str, out: str, training: dict[str, Any]) -> dict[str, Any]:
    """``quantize_model`` of the same architecture in tf-keras, training, and the TFLite converter."""
    import importlib.util

    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from edgekit import zoo

    with np.load(given) as file:
        arrays = dict(file)
    theirs = {"keras": tf_keras, "keras.layers": tf_keras.layers}
    before = {name: sys.modules.pop(name, None) for name in theirs}
    sys.modules.update(theirs)  # the zoo's own code, on the older Keras
    path = zoo.ROOT / model / "keras.py"
    spec = importlib.util.spec_from_file_location("in_tf_keras", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, found in before.items():
        sys.modules.pop(name)
        sys.modules.update({name: found} if found else {})
    plain = module.build(**zoo.architecture(model).configs["tiny"].settings)
    for layer in plain.layers:
        count = len(layer.get_weights())
        layer.set_weights([arrays[f"w/{layer.name}/{i}"] for i in range(count)])
    prepared = tfmot.quantization.keras.quantize_model(plain)

    x, y = tf.constant(arrays["train/x"]), tf.constant(arrays["train/y"].astype("int64"))
    loss_of = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = training["learning_rate"]
    optimizer = tf_keras.optimizers.AdamW(
        rate, weight_decay=training["weight_decay"], epsilon=1e-8, global_clipnorm=1.0
    )
    optimizer.exclude_from_weight_decay(var_list=[v for v in prepared.trainable_variables if len(v.shape) < 2])
    optimizer.build(prepared.trainable_variables)

    @tf.function
    def step(rows: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(tf.gather(y, rows), prepared(tf.gather(x, rows), training=True))
        variables = prepared.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    def measure() -> float:
        outputs = prepared.predict(arrays["selection/x"], batch_size=250, verbose=0)
        return float((outputs.argmax(-1) == arrays["selection/y"]).mean())

    losses, values, best, number = list[float](), [measure()], prepared.get_weights(), 0
    per_epoch = len(x) // training["batch"]
    for order in arrays["orders"]:
        total = 0.0
        for rows in order[: per_epoch * training["batch"]].reshape(per_epoch, -1):
            optimizer.learning_rate.assign(rate * arrays["factors"][number])
            total += float(step(tf.constant(rows)))
            number += 1
        losses.append(total / per_epoch)
        values.append(measure())
        if values[-1] == max(values):
            best = prepared.get_weights()
    prepared.set_weights(best)
    converter = tf.lite.TFLiteConverter.from_keras_model(prepared)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    Path(out).write_bytes(converter.convert())
    return {
        "losses": losses,
        "selection": values,
        "versions": {"tensorflow": tf.__version__, "tf-mot": tfmot.__version__},
    }


# The parent.


def made_by_tfmot(python: str, model: str, folder: Path, out: Path, training: dict[str, Any]) -> dict[str, Any]:
    """The same from here: its Python is another one."""
    from edgekit.jobs.workers import Workers

    given, answer = folder / "given.npz", folder / "answer.json"
    with Workers() as workers:
        workers.call(
            "keras-torch", "benchmarks.qat_vendors:handed", {"model": model, "out": str(given), "training": training}
        )
    asked = json.dumps({"model": model, "given": str(given), "out": str(out), "training": training})
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    code = (
        "import json, sys; from benchmarks import qat_vendors; "
        "open(sys.argv[2], 'w').write(json.dumps(qat_vendors.tfmot(**json.loads(sys.argv[1]))))"
    )
    done = subprocess.run([python, "-c", code, asked, str(answer)], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise FailedError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def ours(model: str, tool: Tool, folder: Path, training: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """edgekit's file after the same training, and how that went."""
    import edgekit

    recipe = folder / "same.toml"
    lines = "\n".join(f"{key} = {value}" for key, value in training.items())
    recipe.write_text(f'schema = 1\ntitle = "As the vendor\'s"\n[[step]]\nkind = "qat"\n{lines}\n')
    place = folder / "ours"
    source = f"{model}@{tool.framework}"
    made = edgekit.convert(source, tool.target, recipe=str(recipe), output=place, latency=False, **tool.options)
    if made.artifact is None or made.recipe is None:
        raise FailedError(f"{made.status}: {made.reason}")
    [step] = made.recipe.steps
    [part] = made.parts.values()
    about = {
        "status": made.status, "losses": [e.loss for e in step.curve[1:]], "selection": [e.value for e in step.curve],
        "bytes": made.size_bytes,
    }  # fmt: skip
    return place / part.file, about


def row(name: str, model: str, training: dict[str, Any], python: str | None) -> dict[str, Any]:
    """One model, trained by both."""
    from edgekit.jobs.workers import Workers

    tool = TOOLS[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        theirs = folder / f"theirs.{tool.ending}"
        began = time.monotonic()
        try:
            if name == "TF-MOT":
                about = made_by_tfmot(str(python), model, folder, theirs, training)
            else:
                with Workers() as workers:
                    asked = {"model": model, "out": str(theirs), "training": training}
                    about = workers.call("torch", f"benchmarks.qat_vendors:{name.lower()}", asked).value
        except EdgekitError as error:
            return {"error": " ".join(str(error).split())[:300]}
        wall = round(time.monotonic() - began, 1)
        beside = theirs.with_suffix(".bin")
        size = theirs.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
        file, own = ours(model, tool, folder, training)
        with Workers() as workers:
            for path, out in ((theirs, "theirs"), (file, "ours")):
                arguments = {
                    "model": model, "target": tool.target, "framework": tool.framework, "file": str(path),
                    "out": str(folder / f"{out}.npy"),
                }  # fmt: skip
                by = workers.call("runtime", "benchmarks.qat_vendors:executed", arguments).value
            both = {"model": model, "theirs": str(folder / "theirs.npy"), "ours": str(folder / "ours.npy")}
            found = workers.call("runtime", "benchmarks.qat_vendors:compared", both).value
        return {"by": by, "theirs": {**about, "bytes": size, "wall_seconds": wall}, "ours": own, "compared": found}


def main() -> None:
    from benchmarks import rows
    from edgekit.zoo import Training

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--tfmot-python", help="a Python that has TF-MOT")
    given = parser.parse_args()
    training = asdict(Training(epochs=given.epochs, learning_rate=given.learning_rate))
    for name in given.tools:
        for model in given.models or TOOLS[name].models:
            if model not in TOOLS[name].models:
                continue
            found = row(name, model, training, given.tfmot_python)
            head = {"tool": name, "model": model, "target": TOOLS[name].target, "training": training, **rows.stamp()}
            with (rows.RESULTS / "qat_vendors.jsonl").open("a") as stream:
                stream.write(json.dumps({**head, **found}, sort_keys=True) + "\n")
            print(name, model, found.get("error") or found["compared"], flush=True)


if __name__ == "__main__":
    main()
