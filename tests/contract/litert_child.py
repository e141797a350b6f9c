"""Small models for ``test_litert.py``, converted in a child: ``python litert_child.py FRAMEWORK FOLDER MODEL...``.

Writes FOLDER/MODEL/samples.npz (test inputs), reference.npz, ROUTE/model.tflite and outcome.json (route -> error).
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)
PRECISION = {
    "export-converter": "fp32",
    "export-litert-torch": "fp32",
    "cast-wf16-quantizer": "fp16",
    "cast-wf16-converter": "fp16",
    "ptq-w8a8-converter": "int8",
    "ptq-w8a8-quantizer": "int8",
    "ptq-w8a8-quantizer-matmuls": "int8",
    "ptq-w8a8-pt2e": "int8",
    "ptq-w8a8-pt2e-with-identities": "int8",
    "ptq-w8a8-quantizer-unrolled": "int8",
    "dynamic-w8a8-quantizer": "int8-dynamic",
    "dynamic-w8a8-converter": "int8-dynamic",
    "dynamic-w8a8-quantizer-nodepthwise": "int8-dynamic",
    "dynamic-w4a8-quantizer": "int4-dynamic",
    "ptq-w8a16-converter": "int16x8",
    "ptq-w8a16-quantizer": "int16x8",
    "ptq-w8a16-quantizer-unrolled": "int16x8",
}
ROUTES = {
    "keras": (
        "export-converter",
        "cast-wf16-quantizer",
        "ptq-w8a8-converter",
        "ptq-w8a8-quantizer",
        "dynamic-w8a8-quantizer",
        "ptq-w8a8-quantizer-matmuls",
        "dynamic-w8a8-quantizer-nodepthwise",
        "dynamic-w4a8-quantizer",
        "ptq-w8a16-converter",
        "ptq-w8a16-quantizer",
    ),
    "torch": (
        "export-litert-torch",
        "cast-wf16-quantizer",
        "ptq-w8a8-quantizer",
        "ptq-w8a8-quantizer-matmuls",
        "ptq-w8a8-pt2e",
        "dynamic-w8a8-quantizer",
        "dynamic-w8a8-quantizer-nodepthwise",
        "ptq-w8a16-quantizer",
    ),
}
MORE = {
    ("torch", "conv"): (*ROUTES["torch"], "ptq-w8a8-pt2e-with-identities"),
    ("keras", "conv"): (*ROUTES["keras"], "ptq-w8a16-quantizer-unrolled", "ptq-w8a8-quantizer-unrolled"),
    ("keras", "lstm"): (*ROUTES["keras"], "ptq-w8a16-quantizer-unrolled", "ptq-w8a8-quantizer-unrolled"),
    ("keras", "long"): (
        "export-converter",
        "ptq-w8a8-converter",
        "dynamic-w8a8-quantizer",
        "ptq-w8a8-quantizer",
        "ptq-w8a16-quantizer",
        "ptq-w8a16-quantizer-unrolled",
    ),
    ("keras", "attention_infinite"): ("export-converter", "ptq-w8a8-quantizer"),
    ("torch", "scaled"): ("export-litert-torch", "ptq-w8a8-quantizer"),
    ("torch", "pool"): ("export-litert-torch", "cast-wf16-quantizer", "ptq-w8a8-quantizer", "ptq-w8a16-quantizer"),
}


def images(count: int) -> dict[str, np.ndarray]:
    return {"image": RNG.normal(size=(count, 16, 16, 3)).astype(np.float32)}


def tokens(count: int) -> dict[str, np.ndarray]:
    return {"tokens": RNG.integers(0, 20, (count, 8)).astype(np.int32)}


def many_tokens(count: int) -> dict[str, np.ndarray]:
    return {"tokens": RNG.integers(0, 20, (count, 72)).astype(np.int32)}


def tokens_and_context(count: int) -> dict[str, np.ndarray]:
    return {**tokens(count), "context": RNG.normal(size=(count, 32)).astype(np.float32)}


INPUTS = {
    "conv": images,
    "pool": images,
    "scaled": images,
    "lstm": tokens,
    "long": many_tokens,
    "attention": tokens_and_context,
    "attention_infinite": tokens_and_context,
}


def keras_model(name: str) -> object:
    import keras

    from edgekit.frameworks.optional import fresh_names

    layers, ops = keras.layers, keras.ops
    keras.utils.set_random_seed(0)
    fresh_names(keras)  # names are of the model, whatever the process built before
    if name == "conv":
        x = layers.Input((16, 16, 3), name="image")
        h = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
        h = layers.ReLU(6.0)(layers.BatchNormalization()(h))
        h = layers.DepthwiseConv2D(3, padding="same", bias_initializer="random_normal")(h)
        h = layers.Conv2DTranspose(6, 2, strides=2, bias_initializer="random_normal")(h)
        h = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(h))
        return keras.Model(x, {"aux": layers.Dense(3, name="aux")(h), "logits": layers.Dense(5, name="logits")(h)})
    x = layers.Input((72 if name == "long" else 8,), dtype="int32", name="tokens")
    wide = keras.initializers.RandomNormal(stddev=1.0)
    if name in ("lstm", "long"):
        h = layers.Embedding(20, 8, embeddings_initializer=wide)(x)
        h = layers.LSTM(8)(layers.Bidirectional(layers.LSTM(8, return_sequences=True))(h))
        return keras.Model(x, {"logits": layers.Dense(4, name="logits")(h)})
    context = layers.Input((32,), name="context")
    h = layers.Embedding(20, 32, embeddings_initializer=wide)(x) + ops.expand_dims(context, 1)
    q, k, v = (layers.Dense(32)(h) for _ in range(3))
    mask = np.triu(np.full((1, 8, 8), -1e9 if name.endswith("infinite") else -60.0, np.float32), 1)
    scores = ops.matmul(q, ops.transpose(k, (0, 2, 1))) + ops.convert_to_tensor(mask)
    h = layers.LayerNormalization()(h + layers.Dense(32)(ops.matmul(ops.softmax(scores), v)))
    h = h + layers.Dense(32)(layers.Dense(64, activation="gelu")(h))
    return keras.Model([x, context], {"logits": layers.Dense(20, name="logits")(h)})


def torch_model(name: str) -> object:
    import torch
    from torch import nn
    from torch.nn import functional as f

    torch.manual_seed(0)
    torch.set_num_threads(1)

    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
            self.depth, self.drop = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Dropout(0.2)
            self.aux, self.fc = nn.Linear(8, 3), nn.Linear(8, 5)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            h = f.relu6(self.norm(self.conv(image)))
            if name == "pool":
                h = f.leaky_relu(f.max_pool2d(h, 3, 2, 1), 0.1)  # pads with -inf; the quantizer knows no leak
            h = self.depth(h).mean((2, 3))
            h = self.drop(h.unsqueeze(1).squeeze(1))
            return {"logits": self.fc(h), "aux": self.aux(h)}

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.narrow, self.fc = nn.Linear(3, 8), nn.Linear(8, 3), nn.Linear(3, 5)
            self.scale = nn.Parameter(torch.tensor([0.1, 0.3, 0.9]))

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            h = image.permute(0, 2, 3, 1)
            h = h + self.scale * self.narrow(f.relu(self.wide(h)))
            return {"logits": self.fc(h.mean((1, 2)))}

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.word = nn.Embedding(20, 8)
            self.lstm, self.fc = nn.LSTM(8, 8, batch_first=True, bidirectional=True), nn.Linear(16, 4)

        def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.fc(self.lstm(self.word(tokens))[0].mean(1))}

    class Attention(nn.Module):
        def __init__(self, hidden: float) -> None:
            super().__init__()
            self.word, self.qkv, self.out = nn.Embedding(20, 32), nn.Linear(32, 96), nn.Linear(32, 32)
            self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 20)
            self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)
            self.register_buffer("mask", torch.triu(torch.full((8, 8), hidden), 1))

        def forward(self, tokens: torch.Tensor, context: torch.Tensor) -> dict[str, torch.Tensor]:
            h = self.word(tokens) + context.unsqueeze(1)
            q, k, v = (t[:, None] for t in self.qkv(h).chunk(3, -1))
            h = h + self.out(f.scaled_dot_product_attention(q * 4.0, k, v, attn_mask=self.mask)[:, 0])
            return {"logits": self.head(self.norm(h + self.narrow(f.gelu(self.wide(h)))))}

    made = {"conv": Conv, "pool": Conv, "scaled": Scaled, "lstm": Lstm}
    model = made[name]() if name in made else Attention(-1e9 if name.endswith("infinite") else -60.0)
    shapes = {"image": (1, 3, 16, 16), "tokens": (1, 8), "context": (1, 32)}
    wanted = {key: shapes[key] for key in INPUTS[name](1)}
    model.example_inputs = {
        key: torch.zeros(shape, dtype=torch.int32 if key == "tokens" else torch.float32)
        for key, shape in wanted.items()
    }
    return model.eval()


# Functions without arguments, as ``file.py:function`` sources want them.
for _framework, _make in (("keras", keras_model), ("torch", torch_model)):
    for _name in INPUTS:
        globals()[f"{_framework}_{_name}"] = lambda make=_make, name=_name: make(name)


def convert_all(framework: str, folder: Path, name: str, routes: tuple[str, ...]) -> None:
    from edgekit import toolchains
    from edgekit.errors import EdgekitError
    from edgekit.schemes import SCHEMES
    from edgekit.sources.source import Source
    from edgekit.toolchains import Request
    from edgekit.toolchains._shared import torch_graph

    function = f"{framework}_{name}"
    source = Source(function, "python", framework, name, "0" * 64, path=__file__, function=function)
    model = importlib.import_module(f"edgekit.frameworks.{framework}").load(source)

    def layout(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        first = framework == "torch" and "image" in arrays
        return {k: np.ascontiguousarray(np.moveaxis(a, -1, 1)) if first else a for k, a in arrays.items()}

    calibration, samples = layout(INPUTS[name](32)), layout(INPUTS[name](8))
    folder.mkdir(parents=True)
    whole = {name: array[:, None] for name, array in calibration.items()}
    np.savez(folder / "samples.npz", **samples)
    np.savez(folder / "calibration.npz", **calibration)
    np.savez(folder / "reference.npz", **model.run(samples))
    names = model.signature
    outcome, float_file = {}, None
    for route in routes:
        (folder / route).mkdir()
        precision = PRECISION[route]
        scheme = SCHEMES[precision]
        static = scheme.needs_calibration
        request = Request(
            folder / route, scheme, static, whole if static else None, float_file,
            tuple(t.name for t in names.inputs), tuple(t.name for t in names.outputs),
        )  # fmt: skip
        made = toolchains.routes("litert")[route.replace("-with-identities", "")]
        kept = torch_graph.erase_identities
        try:
            if route == "ptq-w8a8-pt2e-with-identities":
                torch_graph.erase_identities = lambda graph: graph
            outcome[route] = list(made.convert(None if made.quantizes_file else model, request).notes)
        except EdgekitError as error:
            outcome[route] = f"{type(error).__name__}: {error}"
        finally:
            torch_graph.erase_identities = kept
        if precision == "fp32":
            float_file = folder / route / "model.tflite"
    (folder / "outcome.json").write_text(json.dumps(outcome))


def tensorflow_files(folder: Path) -> None:
    """A file with Flex operators, and one whose fused LSTM keeps its state between runs (tf_keras)."""
    import tensorflow as tf
    import tf_keras

    @tf.function(input_signature=[tf.TensorSpec((1, 3, 3), tf.float32, name="x")])
    def inverse(x: tf.Tensor) -> tf.Tensor:
        return tf.linalg.inv(x)

    module = tf.Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([inverse.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (folder / "flex.tflite").write_bytes(converter.convert())

    model = tf_keras.Sequential([tf_keras.layers.Input((6, 4), batch_size=1, name="x"), tf_keras.layers.LSTM(8)])
    (folder / "fused.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def main() -> None:
    framework, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        convert_all(framework, folder / name, name, MORE.get((framework, name)) or ROUTES[framework])
    if framework == "keras" and "lstm" in names:
        tensorflow_files(folder)


if __name__ == "__main__":
    main()
