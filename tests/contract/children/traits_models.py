"""Float files of models that are easily taken for each other, by one toolchain, and the traits found in each.

``python traits_models.py TOOLCHAIN ROUTE FRAMEWORK FOLDER`` writes FOLDER/traits.json:
``{model: [traits]}``. The toolchain ``source`` finds them in the framework's own graph.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: Model -> inputs (name -> shape), and its states (output, input).
INPUTS: dict[str, dict[str, tuple[int, ...]]] = {
    "wavenet": {"x": (1, 8, 24)},
    "excite": {"x": (1, 8, 6, 6)},
    "siamese": {"left": (1, 16), "right": (1, 16)},
    "tied": {"tokens": (1, 6)},
    "lstm": {"x": (1, 6, 8)},
    "steps": {"x": (1, 6, 8)},
    "step": {"x": (1, 8), "h": (1, 12)},
    "attention": {"x": (1, 6, 16)},
    "swish": {"x": (1, 8, 6, 6)},
    "convolutions": {"x": (1, 8, 6, 6)},
    "normed": {"x": (1, 8, 6, 6)},
}
STATES = {"step": [("next_h", "h")]}


def torch_model(name: str) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional

    class Wavenet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filter, self.gate = (nn.Conv1d(8, 8, 2, dilation=2, padding=1) for _ in range(2))
            self.out = nn.Conv1d(8, 8, 1)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return x + self.out(torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x)))

    class Excite(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.down, self.up = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = functional.relu(self.conv(x))
            pooled = functional.adaptive_avg_pool2d(x, 1)
            return x * torch.sigmoid(self.up(functional.relu(self.down(pooled))))

    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8))

        def forward(self, left, right):  # type: ignore[no-untyped-def]
            return self.tower(left) - self.tower(right)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.hidden = nn.Embedding(40, 16), nn.Linear(16, 16)

        def forward(self, tokens):  # type: ignore[no-untyped-def]
            return functional.linear(functional.relu(self.hidden(self.table(tokens))), self.table.weight)

    class Lstm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.LSTM(8, 12, batch_first=True), nn.Linear(12, 5)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.head(self.cell(x)[0][:, -1])

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.given, self.carried = nn.Linear(8, 24), nn.Linear(12, 24)
            self.head = nn.Linear(12, 5)

        def forward(self, x, h):  # type: ignore[no-untyped-def]
            update, new = (self.given(x) + self.carried(h)).chunk(2, -1)
            update = torch.sigmoid(update)
            h = update * h + (1 - update) * torch.tanh(new)
            return self.head(h), h

    class Steps(Step):
        def forward(self, x):  # type: ignore[no-untyped-def]
            h = x.new_zeros(1, 12)
            for one in x.unbind(1):
                y, h = super().forward(one, h)
            return y

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

        def forward(self, x):  # type: ignore[no-untyped-def]
            q, k, v = self.qkv(x).reshape(1, 6, 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
            found = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return x + self.out(found.transpose(1, 2).reshape(1, 6, 16))

    class Swish(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return functional.silu(self.conv(x))

    torch.manual_seed(0)
    torch.set_num_threads(1)
    convolutions = nn.Sequential(
        nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, 2)
    )
    built = {
        "wavenet": Wavenet, "excite": Excite, "siamese": Siamese, "tied": Tied, "lstm": Lstm, "steps": Steps,
        "step": Step, "attention": Attention, "swish": Swish, "convolutions": lambda: convolutions,
        "normed": lambda: nn.Sequential(nn.Conv2d(8, 8, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.InstanceNorm2d(8)),
    }  # fmt: skip
    return built[name]().eval()


def keras_model(name: str) -> Any:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = layers.Input((80, 8), name="x")
    if name == "lstm":
        return keras.Model(x, layers.Dense(5, name="y")(layers.LSTM(12)(x)))
    if name == "unrolled":
        x = layers.Input((6, 8), name="x")
        return keras.Model(x, layers.Dense(5, name="y")(layers.GRU(12, unroll=True)(x)))
    if name == "attention":
        return keras.Model(x, layers.Dense(5, name="y")(layers.MultiHeadAttention(2, 4)(x, x)))
    return keras.Model(x, layers.Conv1D(5, 3, name="y")(x))


KERAS = {"lstm": (80, 8), "unrolled": (6, 8), "attention": (80, 8), "conv": (80, 8)}


def loaded(framework: str, name: str) -> Any:
    """A model as a ``LoadedModel``."""
    import numpy as np

    from edgekit.signature import Signature, State, TensorSpec

    if framework == "keras":
        native = keras_model(name)
        specs = (TensorSpec("x", (1, *KERAS[name])),)
        return SimpleNamespace(
            native=native, framework="keras", kind="python",
            signature=Signature(specs, (TensorSpec("y", (1, *native.outputs[0].shape[1:])),)),
        )  # fmt: skip
    import torch

    native = torch_model(name)
    kinds = {"tokens": "int64"}
    specs = tuple(TensorSpec(n, shape, kinds.get(n, "float32")) for n, shape in INPUTS[name].items())
    with torch.no_grad():
        found = native(*(torch.from_numpy(np.zeros(t.shape, t.dtype)) for t in specs))
    outputs = found if isinstance(found, tuple) else (found,)
    names = ("y", "next_h")
    signature = Signature(
        specs, tuple(TensorSpec(n, tuple(t.shape)) for n, t in zip(names, outputs, strict=False)),
        tuple(State(*pair) for pair in STATES.get(name, ())),
    )  # fmt: skip
    return SimpleNamespace(native=native, framework="torch", kind="python", signature=signature)


def main(toolchain: str, route: str, framework: str, folder: Path) -> None:
    from edgekit import toolchains
    from edgekit.schemes import FP32
    from edgekit.toolchains import Request
    from edgekit.toolchains._shared import tensorflow_graph, torch_graph, traits

    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in KERAS if framework == "keras" else INPUTS:
        model = loaded(framework, name)
        if toolchain == "source":
            module = tensorflow_graph if framework == "keras" else torch_graph
            found[name] = sorted(traits.find(module.graph(model), model.signature.state))
            continue
        into = folder / name
        into.mkdir(parents=True)
        names = ([t.name for t in side] for side in (model.signature.inputs, model.signature.outputs))
        request = Request(into, FP32, False, None, None, *map(tuple, names), "iOS18")
        file = toolchains.routes(toolchain)[route].convert(model, request).file
        found[name] = sorted(toolchains.traits_of(toolchain, file, model.signature.state))
    (folder / "traits.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
