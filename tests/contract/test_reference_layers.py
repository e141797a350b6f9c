"""Both frameworks' layers, of the kinds that the zoo is made of, against ``edgekit.reference``.

Each framework runs once, in a child of its own (``python test_reference_layers.py FRAMEWORK OUT.npz``); inputs and
weights are drawn from the case's name, so that child and parent hold the same arrays. What a framework calls its
layer's layout is undone in the child: everything that crosses is channels last, as the reference documents it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit import zoo
from edgekit.reference import activation, attention, conv, linear, norm, pool, recurrent

Arrays = Mapping[str, NDArray[Any]]
BOTH = ("torch", "keras")
SHAPES = {"image": (2, 10, 12, 6), "sequence": (2, 7, 6)}
NONE, ONE, LAST = ((0, 0), (0, 0)), ((1, 1), (1, 1)), ((0, 1), (0, 1))
ELEMENTWISE = ("relu", "relu6", "sigmoid", "tanh", "silu", "softplus", "gelu", "gelu_tanh")
#: Largest error relative to the largest reference value: float32 has 6e-8 per operation.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """One layer with its settings; ``shapes`` are those of its weights, in the reference's layout."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    x: str = "image"
    frameworks: tuple[str, ...] = BOTH


def _conv(k: int, c_out: int, groups: int = 1, **settings: Any) -> Case:
    shapes = {"kernel": (k, k, 6 // groups, c_out), "bias": (c_out,)}
    return Case("conv", {"stride": (1, 1), "padding": NONE, "dilation": (1, 1), "groups": groups, **settings}, shapes)


def _depthwise(stride: int, padding: conv.Padding) -> Case:
    settings = {"stride": (stride, stride), "padding": padding}
    return Case("depthwise", settings, {"kernel": (3, 3, 6, 1), "bias": (6,)})


def _transpose(k: int, frameworks: tuple[str, ...] = BOTH, **settings: Any) -> Case:
    shapes = {"kernel": (k, k, 6, 4), "bias": (4,)}
    return Case("transpose", {"stride": (2, 2), "cropping": NONE, **settings}, shapes, frameworks=frameworks)


def _pool(kind: str, k: int, padding: conv.Padding = NONE, frameworks: tuple[str, ...] = BOTH, **settings: Any) -> Case:
    return Case(kind, {"window": (k, k), "stride": (2, 2), "padding": padding, **settings}, frameworks=frameworks)


def _recurrent(kind: str, gates: int, *directions: str) -> Case:
    weights = {"kernel": (6, gates * 5), "recurrent": (5, gates * 5), "bias": (gates * 5,)}
    if kind == "gru":
        weights["recurrent_bias"] = (gates * 5,)
    return Case(kind, shapes={f"{d}{n}": s for d in directions for n, s in weights.items()}, x="sequence")


_PROJECTIONS = {
    f"{part}_{name}": shape
    for part in ("query", "key", "value", "output")
    for name, shape in (("kernel", (6, 6)), ("bias", (6,)))
}
_FOUR = dict.fromkeys(("gamma", "beta", "mean", "variance"), (6,))

CASES: dict[str, Case] = {
    "conv 5x5, no padding (LeNet-5)": _conv(5, 4),
    "conv 3x3, stride 2, zeros last (MobileNetV2)": _conv(3, 4, stride=(2, 2), padding=LAST),
    "conv 7x7, stride 2, three zeros around (ResNet)": _conv(7, 4, stride=(2, 2), padding=((3, 3), (3, 3))),
    "conv 3x3, stride 2, one zero around (ResNet)": _conv(3, 4, stride=(2, 2), padding=ONE),
    "conv 3x3, one zero around": _conv(3, 4, padding=ONE),
    "conv 1x1, stride 2": _conv(1, 4, stride=(2, 2)),
    "conv 3x3, dilated": _conv(3, 4, dilation=(2, 2)),
    "conv 3x3, three groups": _conv(3, 9, groups=3, padding=ONE),
    "depthwise 3x3": _depthwise(1, ONE),
    "depthwise 3x3, stride 2, zeros last": _depthwise(2, LAST),
    "transpose 2x2, stride 2 (U-Net)": _transpose(2),
    "transpose 3x3, stride 2, Keras same": _transpose(3, ("keras",), cropping=LAST),
    "transpose 3x3, stride 2, PyTorch 1 + 1": _transpose(3, ("torch",), cropping=ONE, output_padding=(1, 1)),
    "max pool 2x2": _pool("max_pool", 2),
    "max pool 3x3, zeros around (ResNet)": _pool("max_pool", 3, ONE, ("torch",)),
    "max pool 3x3, Keras same": _pool("max_pool", 3, LAST, ("keras",)),
    "average pool 2x2 (LeNet-5)": _pool("average_pool", 2),
    "average pool 3x3, Keras same": _pool("average_pool", 3, LAST, ("keras",), count_padding=False),
    "average pool 3x3, PyTorch 1": _pool("average_pool", 3, ONE, ("torch",), count_padding=True),
    "global average pool": Case("global_average_pool"),
    "batch norm 1e-3": Case("batch_norm", {"epsilon": 1e-3}, _FOUR),
    "batch norm 1e-5": Case("batch_norm", {"epsilon": 1e-5}, _FOUR),
    "layer norm 1e-5 (GPT-2)": Case("layer_norm", {"epsilon": 1e-5}, {"gamma": (6,), "beta": (6,)}, "sequence"),
    "layer norm 1e-12 (BERT)": Case("layer_norm", {"epsilon": 1e-12}, {"gamma": (6,), "beta": (6,)}, "sequence"),
    **{name: Case("elementwise", {"name": name}) for name in ELEMENTWISE},
    "softmax": Case("softmax"),
    "log_softmax": Case("log_softmax"),
    "linear": Case("linear", shapes={"kernel": (6, 4), "bias": (4,)}),
    "embedding": Case("embedding", shapes={"table": (9, 4)}, x="tokens"),
    "attention, causal mask of -60": Case("attention", {"heads": 2}, _PROJECTIONS, "sequence"),
    "LSTM": _recurrent("lstm", 4, ""),
    "LSTM, bidirectional": _recurrent("bidirectional_lstm", 4, "", "backward_"),
    "GRU": _recurrent("gru", 3, ""),
}


def draw(name: str) -> dict[str, NDArray[Any]]:
    """Return input ``x`` and the weights of a case, float32 (tokens int32)."""
    case, rng = CASES[name], np.random.default_rng(zlib.crc32(name.encode()))
    if case.x == "tokens":
        x: NDArray[Any] = rng.integers(0, 9, size=(2, 7)).astype(np.int32)
    else:
        x = rng.normal(scale=3.0, size=SHAPES[case.x]).astype(np.float32)
    # Attention scores as a trained model has them, within about 20: a mask of -60 hides nothing among hundreds.
    scale = 0.3 if case.kind == "attention" else 1.0
    weights: dict[str, NDArray[Any]] = {
        key: rng.normal(scale=scale, size=shape).astype(np.float32) for key, shape in case.shapes.items()
    }
    if "variance" in weights:
        weights["variance"] = np.abs(weights["variance"]) + 0.01
    return {"x": x, **weights}


def causal_mask(length: int) -> NDArray[Any]:
    """Return ``(length, length)`` with -60 above the diagonal."""
    return np.triu(np.full((length, length), -60.0, np.float32), 1)


# --- the oracle -------------------------------------------------------------------------------------------------


def expected(name: str) -> NDArray[np.float64]:
    """Compute a case with ``edgekit.reference``."""
    case, arrays = CASES[name], draw(name)
    x, weights, how = arrays.pop("x"), arrays, case.settings
    match case.kind:
        case "elementwise":
            found = getattr(activation, how["name"])(x)
        case "attention":
            projections = attention.Projections(**weights)
            found = attention.multi_head_attention(x, x, projections, heads=how["heads"], mask=causal_mask(x.shape[1]))
        case "lstm":
            found = recurrent.lstm(x, recurrent.LSTMWeights(**weights))
        case "gru":
            found = recurrent.gru(x, recurrent.GRUWeights(**weights))
        case "bidirectional_lstm":
            parts = list(weights.values())
            found = recurrent.bidirectional_lstm(
                x, recurrent.LSTMWeights(*parts[:3]), recurrent.LSTMWeights(*parts[3:])
            )
        case "embedding":
            found = linear.embedding(weights["table"], x)
        case "max_pool" | "average_pool":
            rest = {key: value for key, value in how.items() if key != "window"}
            found = getattr(pool, f"{case.kind}2d")(x, how["window"], **rest)
        case _:
            found = _PLAIN[case.kind](x, **weights, **how)
    return np.asarray(found)


_PLAIN: dict[str, Callable[..., Any]] = {
    "conv": conv.conv2d,
    "depthwise": conv.depthwise_conv2d,
    "transpose": conv.conv_transpose2d,
    "global_average_pool": pool.global_average_pool2d,
    "batch_norm": norm.batch_norm,
    "layer_norm": norm.layer_norm,
    "softmax": activation.softmax,
    "log_softmax": activation.log_softmax,
    "linear": linear.linear,
}


# --- PyTorch, in its child --------------------------------------------------------------------------------------


def run_torch(name: str) -> NDArray[Any]:
    """Compute a case with ``torch.nn``."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    case, arrays = CASES[name], draw(name)
    how, x = case.settings, torch.from_numpy(arrays.pop("x"))
    w = {key: torch.from_numpy(value) for key, value in arrays.items()}

    def image_layer(layer: nn.Module, weight: torch.Tensor | None = None, padding: conv.Padding = NONE) -> torch.Tensor:
        """Run a layer on the padded image, channels first in between."""
        if weight is not None:
            layer.load_state_dict({"weight": weight, "bias": w["bias"]})
        (top, bottom), (left, right) = padding
        out: torch.Tensor = layer(F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom)))
        return out.permute(0, 2, 3, 1)

    def recurrent_layer(layer: nn.RNNBase) -> torch.Tensor:
        state = {}
        for suffix, direction in (("", ""), ("_reverse", "backward_")):
            if f"{direction}kernel" in w:
                bias = w[f"{direction}bias"]
                state[f"weight_ih_l0{suffix}"] = w[f"{direction}kernel"].T
                state[f"weight_hh_l0{suffix}"] = w[f"{direction}recurrent"].T
                state[f"bias_ih_l0{suffix}"] = bias
                state[f"bias_hh_l0{suffix}"] = w.get("recurrent_bias", torch.zeros_like(bias))
        layer.load_state_dict(state)
        outputs: torch.Tensor = layer(x)[0]
        return outputs

    def one_sided(pads: conv.Padding) -> int:
        assert pads in (NONE, ONE)
        return pads[0][0]

    match case.kind:
        case "conv" | "depthwise":
            kh, kw, per_group, c_out = arrays["kernel"].shape
            groups = how.get("groups", 1)
            weight = w["kernel"].permute(3, 2, 0, 1)
            if case.kind == "depthwise":
                groups, c_out, weight = per_group, per_group * c_out, w["kernel"].permute(2, 3, 0, 1)
            layer = nn.Conv2d(6, c_out, (kh, kw), how["stride"], 0, how.get("dilation", 1), groups)
            out = image_layer(layer, weight, how["padding"])
        case "transpose":
            k, _, _, c_out = arrays["kernel"].shape
            crop, extra = one_sided(how["cropping"]), how.get("output_padding", 0)
            layer_t = nn.ConvTranspose2d(6, c_out, k, how["stride"], crop, extra)
            out = image_layer(layer_t, w["kernel"].permute(2, 3, 0, 1))
        case "max_pool":
            out = image_layer(nn.MaxPool2d(how["window"], how["stride"], one_sided(how["padding"])))
        case "average_pool":
            out = image_layer(nn.AvgPool2d(how["window"], how["stride"], one_sided(how["padding"])))
        case "global_average_pool":
            out = image_layer(nn.AdaptiveAvgPool2d(1))[:, 0, 0]
        case "batch_norm":
            norm_layer = nn.BatchNorm2d(6, eps=how["epsilon"]).eval()
            named = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}
            norm_layer.load_state_dict({key: w[ours] for key, ours in named.items()}, strict=False)
            out = image_layer(norm_layer)
        case "layer_norm":
            out = F.layer_norm(x, (6,), w["gamma"], w["beta"], how["epsilon"])
        case "elementwise":
            special: dict[str, Callable[..., torch.Tensor]] = {"gelu_tanh": lambda x: F.gelu(x, approximate="tanh")}
            out = special.get(how["name"], getattr(F, how["name"], None))(x)  # type: ignore[misc]
        case "softmax" | "log_softmax":
            out = getattr(F, case.kind)(x, dim=-1)
        case "linear":
            out = F.linear(x, w["kernel"].T, w["bias"])
        case "embedding":
            out = F.embedding(x, w["table"])
        case "attention":
            layer_a = nn.MultiheadAttention(6, how["heads"], batch_first=True).eval()
            parts = ("query", "key", "value")
            layer_a.load_state_dict(
                {
                    "in_proj_weight": torch.cat([w[f"{p}_kernel"].T for p in parts]),
                    "in_proj_bias": torch.cat([w[f"{p}_bias"] for p in parts]),
                    "out_proj.weight": w["output_kernel"].T,
                    "out_proj.bias": w["output_bias"],
                }
            )
            mask = torch.from_numpy(causal_mask(x.shape[1]))
            out = layer_a(x, x, x, attn_mask=mask, need_weights=False)[0]
        case "lstm" | "bidirectional_lstm":
            out = recurrent_layer(nn.LSTM(6, 5, batch_first=True, bidirectional=case.kind != "lstm"))
        case "gru":
            out = recurrent_layer(nn.GRU(6, 5, batch_first=True))
        case _:
            raise NotImplementedError(case.kind)
    result: NDArray[Any] = out.detach().numpy()
    return result


# --- Keras, in its child ----------------------------------------------------------------------------------------


def run_keras(name: str) -> NDArray[Any]:
    """Compute a case with ``keras.layers`` on the TensorFlow backend."""
    import keras
    from keras import layers, ops

    case, w = CASES[name], draw(name)
    how, x = case.settings, w.pop("x")

    def run(layer: Any, weights: list[NDArray[Any]], x: Any = x) -> Any:
        layer.build(x.shape)
        layer.set_weights(weights)
        return layer(x, training=False)

    def same_or_padded(k: int) -> tuple[str, Any]:
        """Take Keras's own SAME where it is the same, an explicit ZeroPadding2D elsewhere."""
        step, dilation = how["stride"], how.get("dilation", (1, 1))
        if how["padding"] == conv.same_padding(x.shape[1:3], (k, k), step, dilation):
            return "same", x
        return "valid", layers.ZeroPadding2D(how["padding"])(x)

    def gates(key: str) -> NDArray[Any]:
        """Reorder the GRU's reset, update, candidate to Keras's update, reset, candidate."""
        reset, update, candidate = np.split(w[key], 3, axis=-1)
        return np.concatenate([update, reset, candidate], axis=-1)

    match case.kind:
        case "conv":
            k, _, _, c_out = w["kernel"].shape
            mode, x_in = same_or_padded(k)
            layer = layers.Conv2D(c_out, k, how["stride"], mode, dilation_rate=how["dilation"], groups=how["groups"])
            out = run(layer, [w["kernel"], w["bias"]], x_in)
        case "depthwise":
            mode, x_in = same_or_padded(3)
            out = run(layers.DepthwiseConv2D(3, how["stride"], mode), [w["kernel"], w["bias"]], x_in)
        case "transpose":
            k, _, _, c_out = w["kernel"].shape
            mode = "valid" if how["cropping"] == NONE else "same"
            out = run(layers.Conv2DTranspose(c_out, k, how["stride"], mode), [w["kernel"].swapaxes(2, 3), w["bias"]])
        case "max_pool" | "average_pool":
            kind = layers.MaxPooling2D if case.kind == "max_pool" else layers.AveragePooling2D
            out = kind(how["window"], how["stride"], "valid" if how["padding"] == NONE else "same")(x)
        case "global_average_pool":
            out = layers.GlobalAveragePooling2D()(x)
        case "batch_norm":
            order = ("gamma", "beta", "mean", "variance")
            out = run(layers.BatchNormalization(epsilon=how["epsilon"]), [w[key] for key in order])
        case "layer_norm":
            out = run(layers.LayerNormalization(epsilon=how["epsilon"]), [w["gamma"], w["beta"]])
        case "elementwise":
            if how["name"].startswith("gelu"):
                out = ops.gelu(x, approximate=how["name"] == "gelu_tanh")
            else:
                out = getattr(ops, how["name"])(x)
        case "softmax" | "log_softmax":
            out = getattr(ops, case.kind)(x, axis=-1)
        case "linear":
            out = run(layers.Dense(4), [w["kernel"], w["bias"]])
        case "embedding":
            out = run(layers.Embedding(9, 4), [w["table"]])
        case "attention":
            out = _keras_attention(keras, x, w, how["heads"])
        case "lstm":
            out = run(layers.LSTM(5, return_sequences=True), list(w.values()))
        case "bidirectional_lstm":
            out = run(layers.Bidirectional(layers.LSTM(5, return_sequences=True)), list(w.values()))
        case "gru":
            biases = np.stack([gates("bias"), gates("recurrent_bias")])
            out = run(layers.GRU(5, return_sequences=True), [gates("kernel"), gates("recurrent"), biases])
        case _:
            raise NotImplementedError(case.kind)
    return np.asarray(out)


def _keras_attention(keras: Any, x: NDArray[Any], w: Arrays, heads: int) -> Any:
    """Compute with ``MultiHeadAttention``, whose boolean mask hides what -60 hides."""
    width = x.shape[-1]
    layer = keras.layers.MultiHeadAttention(heads, width // heads)
    layer.build(x.shape, x.shape)
    split: list[NDArray[Any]] = []
    for part in ("query", "key", "value"):
        split += [w[f"{part}_kernel"].reshape(width, heads, -1), w[f"{part}_bias"].reshape(heads, -1)]
    layer.set_weights([*split, w["output_kernel"].reshape(heads, -1, width), w["output_bias"]])
    return layer(x, x, attention_mask=causal_mask(x.shape[1])[None] == 0, training=False)


# --- whole models -----------------------------------------------------------------------------------------------


def draw_model(name: str) -> NDArray[Any]:
    """Return two samples for a zoo model's ``tiny`` configuration, channels last."""
    config = zoo.architecture(name).configs["tiny"]
    rng, tensor = np.random.default_rng(0), config.inputs[0]
    shape = (2, *tensor.shape[1:])
    if tensor.dtype == "int32":
        return rng.integers(0, config.outputs[0].shape[-1], size=shape).astype(np.int32)
    return rng.random(size=shape).astype(np.float32)


def run_torch_model(name: str) -> NDArray[Any]:
    """Run the zoo's PyTorch implementation with the shipped weights."""
    import importlib

    import torch

    config, path = zoo.architecture(name).configs["tiny"], zoo.weights_path(name, "tiny")
    assert path is not None, f"{name} ships no tiny weights"
    model = importlib.import_module(f"edgekit.zoo.{name}.pytorch").build(**config.settings).eval()
    importlib.import_module("edgekit.zoo.weights").load_torch(model, shipped(name))
    x = torch.from_numpy(draw_model(name))
    if config.inputs[0].layout == "channels_last":
        x = x.permute(0, 3, 1, 2)
    with torch.no_grad():
        result: NDArray[Any] = model(x).numpy()
    return result


def shipped(name: str) -> dict[str, NDArray[Any]]:
    """Return the weights that ship with a zoo model, PyTorch's names and layouts."""
    from safetensors.numpy import load_file

    path = zoo.weights_path(name, "tiny")
    assert path is not None, f"{name} ships no tiny weights"
    return dict(load_file(path))


def lenet5(image: NDArray[Any], w: Arrays) -> NDArray[np.float64]:
    """Compute LeNet-5 from the reference layers: 5x5 convolutions, tanh, 2x2 average pooling."""

    def convolve(x: NDArray[Any], layer: str) -> NDArray[np.float64]:
        return activation.tanh(conv.conv2d(x, w[f"{layer}.weight"].transpose(2, 3, 1, 0), w[f"{layer}.bias"]))

    def dense(x: NDArray[Any], layer: str) -> NDArray[np.float64]:
        return linear.linear(x, w[f"{layer}.weight"].T, w[f"{layer}.bias"])

    x = pool.average_pool2d(convolve(image, "c1"), (2, 2), stride=(2, 2))
    x = pool.average_pool2d(convolve(x, "c3"), (2, 2), stride=(2, 2))
    x = convolve(x, "c5")[:, 0, 0]
    return dense(activation.tanh(dense(x, "f6")), "logits")


def gpt(tokens: NDArray[Any], w: Arrays) -> NDArray[np.float64]:
    """Compute GPT-2 from the reference layers: norm first, one projection for query, key and value, tied logits."""
    settings = zoo.architecture("gpt").configs["tiny"].settings
    heads, depth = int(str(settings["heads"])), int(str(settings["depth"]))

    def normed(x: NDArray[Any], layer: str) -> NDArray[np.float64]:
        return norm.layer_norm(x, w[f"{layer}.weight"], w[f"{layer}.bias"], epsilon=1e-5)

    x = linear.embedding(w["word.weight"], tokens) + w["position.weight"][: tokens.shape[1]]
    for index in range(depth):
        block = f"block.{index}"
        kernels = np.split(w[f"{block}.qkv.weight"].T, 3, axis=1)
        biases = np.split(w[f"{block}.qkv.bias"], 3)
        pairs = [*zip(kernels, biases, strict=True), (w[f"{block}.attended.weight"].T, w[f"{block}.attended.bias"])]
        projections = attention.Projections._make(part for pair in pairs for part in pair)
        y = normed(x, f"{block}.attention_norm")
        x = x + attention.multi_head_attention(y, y, projections, heads=heads, mask=causal_mask(tokens.shape[1]))
        y = linear.linear(normed(x, f"{block}.inner_norm"), w[f"{block}.inner.weight"].T, w[f"{block}.inner.bias"])
        x = x + linear.linear(activation.gelu_tanh(y), w[f"{block}.outer.weight"].T, w[f"{block}.outer.bias"])
    return linear.linear(normed(x, "norm"), w["word.weight"].T)


MODELS: dict[str, Callable[[NDArray[Any], Arrays], NDArray[np.float64]]] = {"lenet5": lenet5, "gpt": gpt}


# --- the tests --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Arrays]:
    """Return what a framework's child computed, starting it on first use."""
    folder, found = tmp_path_factory.mktemp("layers"), dict[str, Arrays]()

    def of(framework: str) -> Arrays:
        if framework not in found:
            out = folder / f"{framework}.npz"
            root = str(Path(zoo.__file__).parents[2])
            quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
            child = subprocess.run(
                [sys.executable, __file__, framework, str(out)],
                env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **quiet},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert child.returncode == 0, child.stderr[-4000:]
            with np.load(out) as arrays:
                found[framework] = dict(arrays)
        return found[framework]

    return of


@pytest.mark.parametrize(
    ("framework", "name"), [(framework, name) for name, case in CASES.items() for framework in case.frameworks]
)
def test_layer_equals_the_reference(
    framework: Literal["torch", "keras"], name: str, measured: Callable[[str], Arrays]
) -> None:
    ours, theirs = expected(name), measured(framework)[name]
    assert theirs.dtype == np.float32
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() <= TOLERANCE * np.abs(ours).max()


@pytest.mark.parametrize("name", MODELS)
def test_whole_model_equals_the_reference(name: str, measured: Callable[[str], Arrays]) -> None:
    ours, theirs = MODELS[name](draw_model(name), shipped(name)), measured("torch")[f"model {name}"]
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() <= 1e-4


def main(framework: Literal["torch", "keras"], out: str) -> None:
    """Compute every case of one framework and write the outputs by name."""
    run = {"torch": run_torch, "keras": run_keras}[framework]
    results = {name: run(name) for name, case in CASES.items() if framework in case.frameworks}
    if framework == "torch":
        results |= {f"model {name}": run_torch_model(name) for name in MODELS}
    np.savez(out, **results)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]
