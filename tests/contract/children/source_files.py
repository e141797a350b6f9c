"""What ``test_sources.py`` runs in children: making real files with a framework, and loading them again.

Every maker leaves a model and ``<its name>.npz`` beside it: inputs ``in/<name>`` and the framework's own outputs
``out/<name>`` for them.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.jobs import wire
from edgekit.sources.source import Source

MODULES = {"keras-tensorflow": "keras", "keras-torch": "keras", "tf-keras": "tf_keras", "torch": "torch"}
COUNT = 3


def image(channels_first: bool = False) -> Any:
    shape = (COUNT, 3, 8, 8) if channels_first else (COUNT, 8, 8, 3)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def tokens() -> Any:
    return np.random.default_rng(1).integers(0, 9, (COUNT, 5)).astype("int32")


def keep(folder: str, name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    np.savez(
        Path(folder) / f"{name}.npz",
        **{f"in/{k}": np.asarray(v) for k, v in inputs.items()},
        **{f"out/{k}": np.asarray(v) for k, v in outputs.items()},
    )


def network(keras: Any) -> Any:
    """Convolution with statistics that are not the initial ones, and one input."""
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(x)))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x))
    norm = model.get_layer("norm")
    norm.set_weights([w + 0.1 * (i + 1) for i, w in enumerate(norm.get_weights())])
    return model


def keras_files(folder: str) -> None:
    import keras
    import tensorflow as tf

    layers, where = keras.layers, Path(folder)
    keras.utils.set_random_seed(1)
    model = network(keras)
    model.save(where / "cnn.keras")
    model.save(where / "cnn.h5")
    model.export(where / "keras3_sm", verbose=False)
    for name, output in (("cnn", "logits"), ("keras3_sm", "output_0")):
        keep(folder, name, {"image": image()}, {output: model(image(), training=False)})
    broken = keras.models.clone_model(model)
    kernel = broken.get_layer("conv").kernel
    kernel.assign(np.full(kernel.shape, np.nan, "float32"))
    broken.save(where / "nan.keras")

    a, b = keras.Input((8, 8, 3), name="image"), keras.Input((5,), dtype="int32", name="ids.1")
    sequence = layers.LSTM(4)(layers.Embedding(9, 4)(b))
    joined = layers.Concatenate()([layers.Flatten()(a), sequence])
    first = layers.Dense(3, name="d")(joined)
    multi = keras.Model([a, b], {"logits": first, "aux": [keras.ops.add(first, 1.0), sequence]})
    multi.save(where / "multi.keras")
    got = multi([image(), tokens()], training=False)
    keep(
        folder,
        "multi",
        {"image": image(), "ids_1": tokens()},
        {"logits": got["logits"], "aux_0": got["aux"][0], "aux_1": got["aux"][1]},
    )

    open_axis = keras.Input((None, 4), name="sequence")
    free = keras.Model(open_axis, layers.LSTM(2, name="h")(open_axis))
    free.save(where / "free.keras")
    x = image()[:, 0, :, :3].repeat(2, axis=-1)[:, :, :4]
    keep(folder, "free", {"sequence": x}, {"h": free(x, training=False)})

    unsafe = keras.Sequential([keras.Input((3,)), layers.Lambda(lambda t: t * 2)])
    unsafe.save(where / "lambda.keras")
    keras.Sequential([keras.Input((8, 8, 3)), layers.TFSMLayer(str(where / "keras3_sm"), call_endpoint="serve")]).save(
        where / "tfsm.keras"
    )
    fixed = keras.Input(batch_shape=(4, 3), name="x")
    keras.Model(fixed, layers.Dense(2)(fixed)).save(where / "batch4.keras")
    rows = keras.Input((4, 8), name="x")
    keras.Model(rows, layers.Dense(2)(keras.ops.reshape(rows, (-1, 8)))).save(where / "folded.keras")

    plain = tf.Module()
    plain.v = tf.Variable(np.arange(6, dtype="float32").reshape(3, 2))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, "x"), tf.TensorSpec((None, 2), tf.float32, "b")])
    def serve(x: Any, b: Any) -> Any:
        return {"z": x @ plain.v + b, "same": b}

    tf.saved_model.save(plain, where / "tf_sm", signatures=serve)
    x, b = image()[:, 0, 0], image()[:, 1, 0, :2]
    keep(folder, "tf_sm", {"x": x, "b": b}, serve(tf.constant(x), tf.constant(b)))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])
    def python(x: Any) -> Any:
        return tf.py_function(lambda t: t, [x], tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])
    def reads(x: Any) -> Any:
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32)])
    def fine(x: Any) -> Any:
        return x * 2.0

    tf.saved_model.save(tf.Module(), where / "python_sm", signatures=python.get_concrete_function())
    tf.saved_model.save(tf.Module(), where / "reads_sm", signatures=reads.get_concrete_function())
    several = {"one": fine.get_concrete_function(), "two": fine.get_concrete_function()}
    tf.saved_model.save(tf.Module(), where / "several_sm", signatures=several)


def keras2_files(folder: str) -> None:
    import tf_keras

    layers, where = tf_keras.layers, Path(folder)
    tf_keras.utils.set_random_seed(2)
    model = network(tf_keras)
    model.save(where / "keras2_cnn.h5")
    model.save(where / "keras2_sm")
    keep(folder, "keras2_cnn", {"image": image()}, {"logits": model(image(), training=False)})
    keep(folder, "keras2_sm", {"image": image()}, {"logits": model(image(), training=False)})

    x = inputs = tf_keras.Input((8, 8, 3), name="image")
    x = layers.DepthwiseConv2D(3)(x)
    x = layers.Reshape((36, 3))(x * 2.0 + 1.0)
    x = layers.LSTM(4)(layers.MultiHeadAttention(2, 2)(x, x))
    old = tf_keras.Model(inputs, [layers.Dense(5, name="logits")(x), x])
    old.save(where / "keras2_old.h5")
    old.save(where / "keras2_old.keras")
    got = old(image(), training=False)
    keep(folder, "keras2_old", {"image": image()}, {"logits": got[0], old.output_names[1]: got[1]})

    class Mine(layers.Dense):
        pass

    tf_keras.Sequential([layers.InputLayer((3,)), Mine(2)]).save(where / "keras2_custom.h5")


def torch_files(folder: str) -> None:
    import torch

    where = Path(folder)
    net = importlib.import_module("user_models").torch_net()
    args = (torch.from_numpy(image(True)), torch.from_numpy(tokens()))
    with torch.no_grad():
        got = net(*args)
        single = tuple(a[:1] for a in args)
        dynamic = torch.export.Dim("n")
        program = torch.export.export(net, args, dynamic_shapes=({0: dynamic}, {0: dynamic}), strict=False)
        torch.export.save(program, where / "dynamic.pt2")
        torch.export.save(torch.export.export(net, single, strict=False), where / "static.pt2")
        script = torch.jit.trace(importlib.import_module("user_models").Plain().eval(), args[:1])
        script.save(str(where / "script.pt"))
        keep(folder, "script", {"image": image(True)}, {"output": script(args[0])})
        table = importlib.import_module("user_models").Table().eval()
        rows = torch.arange(128.0).reshape(16, 8)
        torch.export.save(torch.export.export(table, (rows,), strict=False), where / "table.pt2")
        torch.jit.trace(table, rows).save(str(where / "table.pt"))
        states = importlib.import_module("user_models").States().eval()
        shapes = {"x": {0: dynamic}, "h": {1: dynamic}}
        program = torch.export.export(
            states, (torch.zeros(3, 5, 6), torch.zeros(2, 3, 8)), dynamic_shapes=shapes, strict=False
        )
        torch.export.save(program, where / "states.pt2")
    torch.save(net.state_dict(), where / "state.pt")
    torch.save(net, where / "whole.pt")
    outputs = {"logits": got["logits"], "pair_0": got["pair"][0], "pair_1": got["pair"][1]}
    for name in ("dynamic", "static", "python"):
        keep(folder, name, {"image": image(True), "ids": tokens()}, outputs)
    with zipfile.ZipFile(where / "static.pt2") as old, zipfile.ZipFile(where / "evil.pt2", "w") as new:
        for member in old.namelist():
            evil = member.endswith("sample_inputs/model.pt")
            new.writestr(
                member, b"cos\nsystem\n(S'touch %s'\ntR." % bytes(where / "owned") if evil else old.read(member)
            )


def load(environment: str, source: Source, data: str | None, out: str) -> dict[str, Any]:
    """Load a source, run it on the inputs of ``data``, and run what converters start from on the first sample."""
    framework = importlib.import_module(f"edgekit.frameworks.{MODULES[environment]}")
    loaded = framework.load(source)
    facts: dict[str, Any] = {
        "signature": json.loads(json.dumps(asdict(loaded.signature))),
        "notes": list(loaded.notes),
        "batch": loaded.batch,
        "kind": loaded.kind,
    }
    if data is None:
        return facts
    with np.load(data) as stored:
        inputs = {name[3:]: stored[name] for name in stored.files if name.startswith("in/")}
    results = {f"out/{name}": value for name, value in loaded.run(inputs).items()}
    first = {spec.name: spec.sample(inputs[spec.name], 0) for spec in loaded.signature.inputs}
    converted = _exported(environment, framework, loaded, first, Path(out))
    results |= {f"first/{name}": value for name, value in converted.items()}
    np.savez(Path(out) / "results.npz", **results)
    return facts


def _exported(environment: str, framework: Any, loaded: Any, first: dict[str, Any], out: Path) -> dict[str, Any]:
    """Outputs of the static SavedModel (TensorFlow) or of the exported program (torch) on one sample."""
    names = [spec.name for spec in loaded.signature.outputs]
    if environment in ("torch", "keras-torch"):
        import torch

        from edgekit.frameworks.torch import torch_export

        args = [torch.from_numpy(np.array(first[spec.name])) for spec in loaded.signature.inputs]
        with torch.no_grad():
            outputs = torch.utils._pytree.tree_leaves(torch_export(loaded).module()(*args))
        return {name: value.detach().numpy() for name, value in zip(names, outputs, strict=True)}
    import tensorflow as tf

    folder = framework.export_saved_model(loaded, out / "static_sm")
    signatures = tf.saved_model.load(str(folder)).signatures
    assert list(signatures) == ["serving_default"]
    serve = signatures["serving_default"]
    described = serve.structured_input_signature[1]
    assert {k: tuple(v.shape) for k, v in described.items()} == {s.name: s.shape for s in loaded.signature.inputs}
    outputs = serve(**{name: tf.constant(value) for name, value in first.items()})
    assert set(outputs) == set(names)
    return {name: value.numpy() for name, value in outputs.items()}


def materialise(environment: str, source: Source, data: str | None, out: str) -> dict[str, Any]:
    """Build the model, keep it, and leave this process's outputs; returns the source that others load."""
    framework = importlib.import_module(f"edgekit.frameworks.{MODULES[environment]}")
    loaded = framework.load(source)
    kept = framework.materialise(loaded, Path(out))
    rng = np.random.default_rng(0)
    inputs = {s.name: rng.normal(size=(2, *s.shape[1:])).astype(s.dtype) for s in loaded.signature.inputs}
    np.savez(
        Path(out) / "expected.npz",
        **{f"in/{k}": v for k, v in inputs.items()},
        **{f"out/{k}": v for k, v in loaded.run(inputs).items()},
    )
    found: dict[str, Any] = wire.plain(kept)
    return found


def identify(source: Source) -> str:
    from edgekit.frameworks import python_file

    return python_file.identify(source)
