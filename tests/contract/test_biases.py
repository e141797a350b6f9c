"""Biases that are integers in files, and gates that these have ranges of: training rounds both as the oracle says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

MODELS = """
import numpy as np, torch
from torch import nn

def numbers(*shape):
    return torch.from_numpy(np.random.default_rng(len(shape)).standard_normal(shape).astype("float32"))

class Own(nn.Module):
    def __init__(self, forward, shape, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        torch.manual_seed(0)
        with torch.no_grad():
            for name, value in self.state_dict().items():
                if value.is_floating_point():
                    value.copy_(torch.rand_like(value) + 0.1 if "var" in name else torch.randn_like(value))
        self.how, self.example_inputs = forward, (numbers(1, *shape),)
        self.eval()
    def forward(self, x):
        return self.how(self, x)

class Added(nn.Module):
    def __init__(self, rows, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(numbers(width, rows)), nn.Parameter(numbers(rows))
    def forward(self, x):
        return torch.matmul(x, self.weight) + self.bias

def conv_norm():
    return Own(lambda m, x: m.n(m.l(x)), (3, 8, 8), l=nn.Conv2d(3, 6, 3, bias=False), n=nn.BatchNorm2d(6))
def conv_both():
    return Own(lambda m, x: m.n(m.l(x)), (3, 8, 8), l=nn.Conv2d(3, 6, 3, padding=1), n=nn.BatchNorm2d(6))
def depthwise():
    return Own(lambda m, x: m.l(nn.functional.pad(x, (1, 0, 1, 0))), (3, 8, 8), l=nn.Conv2d(3, 3, 3, groups=3))
def transposed():
    return Own(lambda m, x: m.l(x), (4, 5, 5), l=nn.ConvTranspose2d(4, 6, 2, stride=2))
def linear():
    return Own(lambda m, x: m.l(x.flatten(1)), (2, 8), l=nn.Linear(16, 5))
def linear_of_three():
    return Own(lambda m, x: m.l(x), (4, 16), l=nn.Linear(16, 5))
def summed():
    return Own(lambda m, x: m.l(x), (16,), l=Added(5, 16))
def without():
    return Own(lambda m, x: m.l(x), (3, 8, 8), l=nn.Conv2d(3, 6, 3, bias=False))
def computed():
    return Own(lambda m, x: m.l(x) + x.mean((1, 2, 3), keepdim=True), (3, 8, 8), l=nn.Conv2d(3, 6, 3, bias=False))
def read_twice():
    def forward(m, x):
        y = m.l(x)
        return m.n(y) + y
    return Own(forward, (3, 8, 8), l=nn.Conv2d(3, 6, 3), n=nn.BatchNorm2d(6))

def gated():
    def forward(m, x):
        return nn.functional.silu(m.n(nn.functional.hardswish(m.l(x))))
    return Own(forward, (6,), l=nn.Linear(6, 6), n=nn.Linear(6, 6))

def keras_conv():
    import keras
    x = keras.Input((8, 8, 3))
    y = keras.layers.Conv2D(6, 3, use_bias=False, padding="same", name="l")(x)
    return randomly(keras.Model(x, keras.layers.BatchNormalization(name="n")(y)))
def keras_dense():
    import keras
    x = keras.Input((16,))
    return randomly(keras.Model(x, keras.layers.Dense(5, name="l")(x)))
def randomly(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, w.shape) if w.ndim == 1 else rng.standard_normal(w.shape)
                       for w in model.get_weights()])
    return model
"""

CODE = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import json
import numpy as np, torch
from edgekit.compress import activations, biases, qat
from edgekit.compress.fakequant import chooser
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.scheme import Range
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources

ANY = {"conv": None, "depthwise-conv": None, "transposed-conv": None, "linear": None}
taken, found = Range("x", -2.0, 3.0), {}
for case in sys.argv[2:]:
    framework = "keras" if case.startswith("keras") else "torch"
    source = sources.with_framework(sources.resolve(f"{sys.argv[1]}:{case}", trust=True), framework)
    model = (keras_models if framework == "keras" else torch_models).load(source)
    chosen = chooser(SCHEMES["int8"], (), ())
    layers, _ = qat.find_layers(model, chosen)
    for layer in layers:
        layer.quantize()
    spec = model.signature.inputs[0]
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, *spec.shape[1:])).astype("float32"))
    first = activations.Graph(model).nodes
    given = next(node.name for node in first if node.op == "placeholder")
    def answer(kinds, module=None):
        module = activations.on_steps(model, {given: taken}, 2, biases.of_files(kinds, chosen))
        returned = module(x)
        return module, returned[0] if isinstance(returned, tuple) else returned
    (_, plain), (module, rounded) = answer({}), answer(ANY)
    rounded.sum().backward()
    native = model.native
    state = ({v.path.rpartition("/")[2] if framework == "torch" else v.path: v.numpy() for v in native.variables}
             if framework == "keras" else {k: v.numpy() for k, v in native.state_dict().items()})
    parameters = native.trainable_variables if framework == "keras" else list(native.parameters())
    found[case] = {
        "shift": (rounded - plain).detach().double().numpy().tolist(),
        "of matrices alone": bool((answer({"linear": 2})[1] != plain).any()),
        "state": {k.replace("/", "."): np.asarray(v, "float64").tolist() for k, v in state.items()},
        "without gradient": sum((getattr(p, "value", p) if framework == "keras" else p).grad is None
                                for p in parameters),
        "scale": float(np.float32(taken.scale)),
    }

model = torch_models.load(sources.with_framework(sources.resolve(f"{sys.argv[1]}:gated", trust=True), "torch"))
x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 1, 6)).astype("float32"))
values, rounding = {}, Range("gate", 0.0, 1.0, 4)
with torch.no_grad():
    first = [model.native.l(one) for one in x]
    values["inner"] = [torch.nn.functional.hardsigmoid(one).numpy() for one in first]
    second = [model.native.n(torch.nn.functional.hardswish(one)) for one in first]
    values["other"] = [torch.sigmoid(one).numpy() for one in second]
    nodes = activations.places(model, [[one.numpy()] for one in x], values)
    same = activations.on_steps(model, {}, 2)(x[:, 0])
    made = activations.on_steps(model, {node: rounding for node in nodes.values()}, 2)(x[:, 0])
    plain = model.native(x[:, 0])
    def steps(of):
        return torch.fake_quantize_per_tensor_affine(of, float(np.float32(rounding.scale)), rounding.zero_point, -8, 7)
    y = model.native.l(x[:, 0])
    y = model.native.n(y * steps(torch.nn.functional.hardsigmoid(y)))
    y = y * steps(torch.sigmoid(y))
found["gated"] = {"nodes": nodes, "same": bool(torch.allclose(same, plain, atol=1e-6)),
                  "far": float((made - y).abs().max()), "moved": float((made - plain).abs().max())}
print(json.dumps(found))
"""

#: By case: the axis that the weight's rows lie on, and the one of the result.
CASES = {
    "conv_norm": (0, 1),
    "conv_both": (0, 1),
    "depthwise": (0, 1),
    "transposed": (1, 1),
    "linear": (0, 1),
    "linear_of_three": (0, 2),
    "summed": (1, 1),
    "keras_conv": (3, 3),
    "keras_dense": (1, 1),
}
NONE = ("without", "computed")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, printed: Any) -> Any:
    file = tmp_path_factory.mktemp("models") / "models.py"
    file.write_text(MODELS)
    return json.loads(printed(CODE, file, *CASES, *NONE, "read_twice").splitlines()[-1])


def folded(state: dict[str, Any], rows_on: int, case: str) -> tuple[Any, Any]:
    """Weights ``(rows, inputs)`` and the bias of a layer with the norm behind it, in float64."""
    held = {name.rpartition(".")[0] + "." + name.rpartition(".")[2]: np.array(v) for name, v in state.items()}
    weight = held["l.kernel"] if case.startswith("keras") else held["l.weight"]
    rows = np.moveaxis(weight, rows_on, 0).reshape(weight.shape[rows_on], -1)
    bias = held.get("l.bias", np.zeros(len(rows)))
    if case.startswith("keras"):
        norm = [held.get(f"n.{name}") for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    else:
        norm = [held.get(f"n.{name}") for name in ("weight", "bias", "running_mean", "running_var")]
    if norm[0] is None:
        return rows, bias
    gamma, beta, mean, variance = norm
    gain = gamma / np.sqrt(variance + (1e-3 if case.startswith("keras") else 1e-5))
    return rows * gain[:, None], (bias - mean) * gain + beta


@pytest.mark.parametrize("case", CASES)
def test_a_bias_is_what_the_oracle_says(found: Any, case: str) -> None:
    from edgekit.reference.quantize import rounded_bias

    of, (rows_on, axis) = found[case], CASES[case]
    rows, bias = folded(of["state"], rows_on, case)
    expected = rounded_bias(bias, of["scale"], rows) - bias
    steps = of["scale"] * np.abs(rows).max(axis=1) / 127
    shift = np.moveaxis(np.array(of["shift"]), axis, 0).reshape(len(rows), -1)
    assert (np.abs(expected) / steps).max() > 0.15, "there is something to round"
    assert np.allclose(shift, expected[:, None], atol=0.02 * steps.min()), "at each position, of each sample"
    assert of["without gradient"] == 0


@pytest.mark.parametrize("case", NONE)
def test_what_has_no_bias_is_left_alone(found: Any, case: str) -> None:
    assert not np.any(found[case]["shift"])


def test_a_norm_that_cannot_be_folded_is_not_part_of_the_bias(found: Any) -> None:
    of = found["read_twice"]
    held = {name: np.array(value) for name, value in of["state"].items()}
    from edgekit.reference.quantize import rounded_bias

    rows = held["l.weight"].reshape(6, -1)
    expected = rounded_bias(held["l.bias"], of["scale"], rows) - held["l.bias"]
    gain = held["n.weight"] / np.sqrt(held["n.running_var"] + 1e-5)
    shift = np.moveaxis(np.array(of["shift"]), 1, 0).reshape(6, -1)
    assert np.allclose(shift, (expected * (1 + gain))[:, None], atol=1e-5)


def test_a_format_says_of_how_many_axes(found: Any) -> None:
    assert found["linear"]["of matrices alone"] and found["summed"]["of matrices alone"]
    assert not found["linear_of_three"]["of matrices alone"] and not found["conv_both"]["of matrices alone"]


def test_a_gate_is_a_value_of_the_graph(found: Any) -> None:
    """Files hold ``hardswish`` and ``silu`` as products with a gate, whose values have a range there."""
    of = found["gated"]
    assert of["nodes"] == {"inner": "hardswish_gate", "other": "silu_gate"}
    assert of["same"] and of["far"] < 1e-6 and of["moved"] > 1e-2
