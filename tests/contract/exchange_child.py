"""Small models for the tests of the ONNX, OpenVINO and TensorRT toolchains.

``python exchange_child.py TOOLCHAIN FRAMEWORK FOLDER``

Writes FOLDER/MODEL/samples.npz, reference.npz, one folder per route and outcome.json (route -> error).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

RNG = np.random.default_rng(0)
ROUTES = {
    ("onnx", "torch"): {
        "export-torch-dynamo": "fp32",
        "ptq-w8a8-qdq": "int8",
        "ptq-w8a8-qdq-matmuls": "int8",
        "ptq-w8a8-qdq-dynamic-cells": "int8",
        "ptq-w8a8-qdq-unrolled": "int8",
        "ptq-w8a8-nncf": "int8",
        "dynamic-w8a8-ort-noconv-per-tensor": "int8-dynamic",
        "dynamic-w8a8-ort-noconv": "int8-dynamic",
        "dynamic-w8a8-ort": "int8-dynamic",
    },
    ("onnx", "keras"): {"export-tf2onnx": "fp32"},
    ("tensorrt", "torch"): {
        "export-torch-dynamo": "fp32",
        "cast-wf16af16-onnx": "fp16",
        "ptq-w8a8-qdq": "int8",
        "ptq-w8a8-qdq-unrolled": "int8",
    },
    ("tensorrt", "keras"): {"export-tf2onnx": "fp32", "cast-wf16af16-onnx": "fp16", "ptq-w8a8-qdq": "int8"},
    ("openvino", "torch"): {
        "export-torch-trace": "fp32",
        "export-torch-export": "fp32",
        "cast-wf16-openvino": "fp16",
        "ptq-w8a8-nncf": "int8",
        "ptq-w8a8-nncf-all": "int8",
        "ptq-w8a8-nncf-unsmoothed": "int8",
        "ptq-w8a8-nncf-unrolled": "int8",
        "weights-w8-nncf": "int8-weights",
        "weights-w8-nncf-symmetric": "int8-weights",
    },
    ("openvino", "keras"): {"export-saved-model": "fp32"},
}
MODELS = {"torch": ("conv", "lstm", "attention"), "keras": ("outputs", "lstm", "gelu", "attention")}
INPUTS = {
    "conv": lambda n: {"image": RNG.normal(size=(n, 3, 16, 16)).astype(np.float32)},
    "outputs": lambda n: {"image": RNG.normal(size=(n, 8, 8, 3)).astype(np.float32)},
    "gelu": lambda n: {"x": RNG.normal(size=(n, 6)).astype(np.float32)},
    "lstm": lambda n: {"tokens": RNG.integers(0, 40, (n, 12)).astype(np.int32)},
    "attention": lambda n: {"tokens": RNG.integers(0, 40, (n, 12)).astype(np.int32)},
}


def torch_model(name: str) -> object:
    import torch
    from torch import nn
    from torch.nn import functional

    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
            self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.ReLU())
            self.up, self.drop, self.head = nn.ConvTranspose2d(16, 16, 2, 2), nn.Dropout(0.2), nn.Linear(16, 6)

        def forward(self, image):  # type: ignore[no-untyped-def]
            x = self.stem(image)
            x = functional.relu(self.up(x + self.depthwise(x)))
            return self.head(self.drop(x.mean((2, 3))))

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.cell = nn.Embedding(40, 16), nn.LSTM(16, 24, batch_first=True, bidirectional=True)
            self.head = nn.Linear(48, 5)

        def forward(self, tokens):  # type: ignore[no-untyped-def]
            return self.head(self.cell(self.table(tokens))[0].mean(1))

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm, self.end = nn.Embedding(40, 32), nn.LayerNorm(32), nn.LayerNorm(32)
            self.qkv, self.out, self.head = nn.Linear(32, 96), nn.Linear(32, 32), nn.Linear(32, 40)
            self.register_buffer("mask", torch.triu(torch.full((12, 12), -60.0), 1))

        def forward(self, tokens):  # type: ignore[no-untyped-def]
            x = self.table(tokens)
            q, k, v = self.qkv(self.norm(x)).reshape(1, 12, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
            weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5 + self.mask, -1)
            x = x + self.out((weights @ v).transpose(1, 2).reshape(1, 12, 32))
            return self.head(functional.gelu(self.end(x)))

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = {"conv": Conv, "lstm": Lstm, "attention": Attention}[name]().eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return model


def keras_model(name: str) -> object:
    import keras

    from edgekit.frameworks.optional import fresh_names

    layers = keras.layers
    keras.utils.set_random_seed(0)
    fresh_names(keras)  # names are of the model, whatever the process built before
    if name == "outputs":
        x = layers.Input((8, 8, 3), name="image")
        h = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
        first = layers.Dense(4, name="z_first")(layers.GlobalAveragePooling2D()(h))
        return keras.Model(x, [first, layers.Conv2D(2, 1, name="a_second")(h)])
    if name == "gelu":
        x = layers.Input((6,), name="x")
        return keras.Model(x, layers.Dense(3, name="logits")(layers.Dense(8, activation="gelu")(x)))
    x = layers.Input((12,), dtype="int32", name="tokens")
    if name == "attention":
        h = layers.Embedding(40, 8)(x)
        h = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(h, h))
        return keras.Model(x, layers.Dense(5, name="logits")(h))
    h = layers.Bidirectional(layers.LSTM(8))(layers.Embedding(40, 8)(x))
    return keras.Model(x, layers.Dense(5, name="logits")(h))


def loaded(framework: str, name: str, inputs: dict[str, np.ndarray]) -> tuple[object, dict[str, np.ndarray]]:
    """The model as a ``LoadedModel``, and its outputs for the samples."""
    from edgekit.signature import Signature, TensorSpec

    names = ["z_first", "a_second"] if name == "outputs" else ["logits"]
    native = torch_model(name) if framework == "torch" else keras_model(name)
    rows = range(len(next(iter(inputs.values()))))
    if framework == "torch":
        import torch

        with torch.no_grad():
            found = [[native(*(torch.from_numpy(a[i : i + 1]) for a in inputs.values())).numpy()] for i in rows]
    else:
        found = [native([a[i : i + 1] for a in inputs.values()], training=False) for i in rows]
        found = [[np.asarray(t) for t in (f if isinstance(f, list) else [f])] for f in found]
    outputs = {n: np.concatenate([f[j] for f in found]) for j, n in enumerate(names)}
    specs = Signature(
        tuple(TensorSpec(n, (1, *a.shape[1:]), a.dtype.name) for n, a in inputs.items()),
        tuple(TensorSpec(n, (1, *a.shape[1:])) for n, a in outputs.items()),
    )
    return SimpleNamespace(native=native, framework=framework, kind="python", signature=specs), outputs


def main(toolchain: str, framework: str, folder: Path) -> None:
    from edgekit import toolchains
    from edgekit.errors import EdgekitError
    from edgekit.schemes import SCHEMES
    from edgekit.toolchains import Request

    routes = toolchains.routes(toolchain)
    for name in MODELS[framework]:
        calibration, samples = INPUTS[name](16), INPUTS[name](8)
        whole = {key: array[:, None] for key, array in calibration.items()}
        model, reference = loaded(framework, name, samples)
        outcome: dict[str, str] = {}
        float_file, traits = None, frozenset()
        for route, precision in ROUTES[toolchain, framework].items():
            if toolchain == "tensorrt" and routes[route].quantizes_file and float_file is None:
                outcome[route] = "there is no float file to start from"
                continue
            into = folder / name / route
            into.mkdir(parents=True)
            scheme = SCHEMES[precision]
            request = Request(
                into, scheme, False, whole if scheme.needs_calibration else None, float_file,
                tuple(samples), tuple(reference), traits=traits,
            )  # fmt: skip
            try:
                done = routes[route].convert(None if routes[route].quantizes_file else model, request)
            except EdgekitError as error:
                outcome[route] = f"{type(error).__name__}: {error}"
                continue
            if float_file is None:
                float_file, traits = done.file, toolchains.traits_of(toolchain, done.file)
        np.savez(folder / name / "samples.npz", **samples)
        np.savez(folder / name / "reference.npz", **reference)
        (folder / name / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
