"""What a model is trained by: the loss of what it returns in training, its own constraints, and zeros that stay."""

from __future__ import annotations

import json
from typing import Any

import pytest

MODELS = """
import torch
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, of, units=4, width=12):
        super().__init__()
        torch.manual_seed(0)
        self.of, self.body = of, nn.Sequential(nn.Linear(width, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head, self.aux = nn.Linear(16, units), nn.Linear(16, units)
        self.example_inputs = (torch.zeros(1, width),)

    def forward(self, x):
        y = self.body(x)
        return self.of(self, y)

def net(of, **more):
    return lambda: Net(of, **more)

logits = net(lambda m, y: m.head(y))
always = net(lambda m, y: m.head(y).softmax(-1))
evaluated = net(lambda m, y: m.head(y) if m.training else m.head(y).softmax(-1))
named = net(lambda m, y: {"aux": m.aux(y), "out": m.head(y)} if m.training else {"out": m.head(y)})
placed = net(lambda m, y: (m.head(y), m.aux(y)) if m.training else m.head(y))
breaks = net(lambda m, y: m.head(y[:, :3]) if m.training else m.head(y))
logit = net(lambda m, y: m.head(y), units=1)
flat = net(lambda m, y: m.head(y)[:, 0], units=1)
probability = net(lambda m, y: m.head(y).sigmoid(), units=1)

class Sequence(nn.Module):
    def __init__(self, length):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(4, 8, 3, padding=1)
        self.example_inputs = (torch.zeros(1, 4, length),)

    def forward(self, x):
        return self.conv(x)

square, oblong = (lambda: Sequence(8)), (lambda: Sequence(6))

class Products(nn.Module):
    def __init__(self):
        super().__init__()
        self.batched, self.added = (nn.Parameter(torch.randn(4, 8, 16)) for _ in range(2))
        self.pair, self.volume, self.head = nn.Bilinear(16, 16, 8), nn.ConvTranspose3d(1, 1, 2), nn.Linear(8, 2)
        self.example_inputs = (torch.zeros(1, 8),)

    def forward(self, x):
        x = x.expand(4, 1, 8)
        one, other = torch.bmm(x, self.batched), torch.baddbmm(torch.ones(1), x, self.added)
        y = self.pair(one.sum(0), other.sum(0))
        return self.head(y) + self.volume(y.view(1, 1, 2, 2, 2)).sum()

class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.example_inputs = (torch.zeros(1, 12),)

    def forward(self, x):
        y = self.head(x)
        self.mean.mul_(0.9).add_(y.detach().mean(0), alpha=0.1)
        return y - self.mean

def wide():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    model.example_inputs = (torch.zeros(1, 6),)
    return model
"""
KERAS = """
import keras
from keras import layers

class Added(layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x) * 0 + 1000.0)
        return x

def constrained():
    keras.utils.set_random_seed(0)
    x = given = keras.Input((12,))
    x = layers.Dense(16, activation="relu", kernel_constraint="non_neg", kernel_initializer="random_uniform")(x)
    x = layers.Dense(16, activation="relu", kernel_constraint=keras.constraints.MaxNorm(0.5))(x)
    return keras.Model(given, layers.Dense(4)(x))

def regular():
    keras.utils.set_random_seed(0)
    x = given = keras.Input((12,))
    x = Added()(layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(1.0))(x))
    return keras.Model(given, layers.Dense(4)(x))

def shared():
    x = given = keras.Input((8, 8, 4))
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    x = layers.Conv2D(4, 3, groups=2, name="grouped")(twice(twice(x)))
    return keras.Model(given, layers.Dense(4)(layers.Flatten()(x)))
"""
CODE = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import itertools, json, sys
from pathlib import Path
import numpy as np, torch
from torch.nn import functional
from edgekit.compress import qat
from edgekit.compress.fakequant import Grid
from edgekit.compress.prune import patterns, zeros
from edgekit.compress.training import losses
from edgekit.errors import EdgekitError
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.frameworks.trainable import parameters, tensors_of
from edgekit.sources import source as sources
from edgekit.zoo import Training

folder = sys.argv[1]
torch.manual_seed(0)
x, y = torch.randn(64, 12), torch.randint(0, 4, (64,))
found = {}

def loaded(name, framework="torch"):
    source = sources.resolve(f"{folder}/{'own' if framework == 'torch' else 'own_keras'}.py:{name}")
    return (keras_models if framework == "keras" else torch_models).load(sources.with_framework(source, framework))

def refused(function):
    try:
        function()
    except EdgekitError as error:
        return [type(error).__name__, str(error), error.hint]

def of(name, labels, inputs=x, **more):
    model = loaded(name)
    before = [t.clone() for t in tensors_of(model)]
    loss = losses.loss_for(model, [inputs[:32]], labels, **more)
    untouched = all(map(torch.equal, before, tensors_of(model))) and not model.native.training
    model.native.train()
    return model, loss, untouched

def equal(one, other):
    return abs(float(one) - float(other)) < 1e-5

two = y % 2
model, loss, untouched = of("evaluated", y)
found["evaluated"] = equal(loss(model.native(x), y), functional.cross_entropy(model.native(x), y)) and untouched
model, loss, _ = of("always", y)
found["always"] = equal(loss(model.native(x), y), functional.nll_loss(model.native(x).log(), y))
model, loss, _ = of("named", y)
found["named"] = equal(loss(model.native(x), y), functional.cross_entropy(model.native(x)["out"], y))
found["placed"] = refused(lambda: of("placed", y))
found["breaks"] = refused(lambda: of("breaks", y))
found["two"] = {}
for name, unit in (("logit", "logit"), ("flat", "logit"), ("logit", "score"), ("probability", "probability"),
                   ("probability", "score")):
    for labels in (two, two[:, None]):
        model, loss, _ = of(name, labels, unit=unit)
        units = model.native(x).reshape(-1)
        wanted = functional.binary_cross_entropy_with_logits if name != "probability" else \\
            functional.binary_cross_entropy
        found["two"][f"{name} {unit} {labels.ndim}"] = equal(loss(model.native(x), labels), wanted(units, two.float()))
found["untold"] = refused(lambda: of("logit", two))
sequences, positions = torch.randn(16, 4, 6), torch.randint(0, 8, (16, 6))
model, loss, _ = of("oblong", positions, sequences)
found["oblong"] = equal(loss(model.native(sequences), positions),
                        functional.cross_entropy(model.native(sequences), positions))
found["square"] = refused(lambda: of("square", torch.randint(0, 8, (16, 8)), torch.randn(16, 4, 8)))

_, found["products"] = qat.find_layers(loaded("Products"), lambda *_: Grid(127))
_, found["shared"] = qat.find_layers(loaded("shared", "keras"), lambda *_: Grid(127))

scores = itertools.count()
def better():
    return float(next(scores))

def trained(model, epochs=2, learning_rate=1e-2, zeros=None):
    loss, seen = losses.loss_for(model, [x[:32]], y), []
    def kept(returned, labels):
        seen.append(float(loss(returned, labels)))
        return loss(returned, labels)
    training = Training(epochs=epochs, batch=32, learning_rate=learning_rate)
    done = qat.train(model, [], [], kept, [x], y, training, better, higher=True, zeros=zeros)
    return done.losses, seen

model = loaded("constrained", "keras")
trained(model, learning_rate=0.1)
first, second, _ = (layer.kernel.value.detach() for layer in model.native.layers if layer.weights)
found["constraint"] = [float(first.min()), float(second.norm(dim=0).max())]
model = loaded("regular", "keras")
norms = [float(model.native.layers[1].kernel.value.norm())]
told, own = trained(model, epochs=3)
norms.append(float(model.native.layers[1].kernel.value.norm()))
found["regular"] = {"norms": norms, "told": told[0], "own": sum(own[:2]) / 2}

model = loaded("wide")
def step(pattern, held, together=True):
    asked = patterns.parse(pattern)
    layers, left, _ = zeros.find(model, asked)
    grown = zeros.Growing(layers, asked, together=together, steps=2, ramp=2,
                          held=parameters(model) if held else ())
    inputs, labels = x[:, :6], y
    loss = losses.loss_for(model, [inputs[:32]], labels)
    qat.train(model, [], [], loss, [inputs], labels, Training(epochs=3, batch=32, learning_rate=0.1), better,
              higher=True, zeros=grown)
    counted = zeros.counted(layers)
    found.setdefault("left", left)
    return counted
gone = step("0.5", False, False)
before = {name: t.detach() == 0 for name, t in model.native.named_parameters()}
then = step("2:4", True)
after = dict(model.native.named_parameters())
found["steps"] = {
    "layers": [len(gone), len(then)],
    "stay": all(bool((after[name][where] == 0).all()) for name, where in before.items()),
    "recounted": [one.zeros for one in zeros.recounted(model, gone)], "gone": [one.zeros for one in gone],
    "groups": bool(((after["2.weight"].view(-1, 4) == 0).sum(1) >= 2).all()),
}
found["nothing"] = refused(lambda: step("0.0001", False))

from dataclasses import replace
from edgekit.steps.recipe import fit
np.savez(f"{folder}/selection.npz", **{"x/x": x.numpy()})
class Asked:
    source, environment, selection, own = loaded("Counts").source, "torch", f"{folder}/selection.npz", None
found["counts"] = refused(lambda: fit._check_built(loaded("Counts"), Asked))
Asked.source = loaded("logits").source
found["counts_none"] = refused(lambda: fit._check_built(loaded("logits"), Asked))

from edgekit.compress.training import own_loop
from edgekit.user_code import Function
found["loops"] = {}
for name in ("fit", "copies", "silent", "head"):
    model = loaded("logits")
    layers, _ = qat.find_layers(model, lambda *_: Grid(127))
    layers = [layer for layer in layers if "aux" not in layer.name]
    loop = own_loop.loop(Function(f"{folder}/loops.py", name, ""), model, layers, [], own_loop.Data((x,), y),
                         Training(epochs=1, batch=32))
    found["loops"][name] = refused(lambda: loop(lambda ended: None))
print(json.dumps(found))
"""


LOOPS = """
import torch
from torch.nn import functional

def fit(model, data, *, epochs, seed, report, call=None, reports=True, epoch_of=1):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for epoch in range(1, epochs + 1):
        model.train()
        for inputs, labels in data.batches(32):
            optimizer.zero_grad()
            functional.cross_entropy(call(model, *inputs) if call else model(*inputs), labels).backward()
            optimizer.step()
        if reports:
            with torch.no_grad():
                model(*data.inputs)  # a validation of its own reads the weights of the model, too
            report(epoch=epoch)

def copied(model, *inputs):
    weights = {name: weight * 1.0 for name, weight in model.named_parameters()}
    return torch.func.functional_call(model, weights, inputs)

def copies(model, data, **more):
    fit(model, data, call=copied, **more)

def silent(model, data, **more):
    fit(model, data, call=copied, reports=False, **more)

def head(model, data, **more):
    with torch.no_grad():
        features = model.body(*data.inputs)  # computed once, by weights that are not moved
    optimizer = torch.optim.SGD(model.head.parameters(), 0.1)
    functional.cross_entropy(model.head(features), data.labels).backward()
    optimizer.step()
    more["report"](epoch=1)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, printed: Any) -> Any:
    folder = tmp_path_factory.mktemp("models")
    (folder / "own.py").write_text(MODELS)
    (folder / "own_keras.py").write_text(KERAS)
    (folder / "loops.py").write_text(LOOPS)
    return json.loads(printed(CODE, folder).splitlines()[-1])


def test_the_loss_is_that_of_what_the_model_returns_in_training(found: Any) -> None:
    assert found["evaluated"], "a softmax in evaluation alone is none in training"
    assert found["always"]
    assert found["named"], "by name, and not by place"


def test_outputs_that_nothing_tells_apart_in_training_are_refused(found: Any) -> None:
    kind, text, hint = found["placed"]
    assert kind == "UsageError" and "2 outputs in training (output_0, output_1)" in text and "--fit" in hint
    kind, text, _ = found["breaks"]
    assert kind == "FailedError" and "not in training mode" in text and "own.py" in text


def test_one_unit_gets_the_cross_entropy_of_its_logit_or_of_its_probability(found: Any) -> None:
    assert len(found["two"]) == 10 and all(found["two"].values()), found["two"]
    assert "--metric binary" in found["untold"][2]


def test_the_axis_of_classes_is_taken_where_labels_show_it_and_refused_where_they_do_not(found: Any) -> None:
    assert found["oblong"]
    kind, text, hint = found["square"]
    assert kind == "UsageError" and "(8, 8)" in text and "unsqueeze(1)" in hint


def test_every_operator_that_multiplies_by_weights_is_named(found: Any) -> None:
    assert {name: why.split("`")[1] for name, why in found["products"].items()} == {
        "batched": "bmm", "added": "baddbmm", "pair.weight": "bilinear", "volume.weight": "conv_transpose3d",
    }  # fmt: skip


def test_keras_weights_without_a_rule_have_their_own_names_and_reasons(found: Any) -> None:
    assert found["shared"] == {
        "twice/kernel": "several operators read it", "grouped/kernel": "a convolution of groups",
    }  # fmt: skip


def test_keras_constraints_hold_and_regularizers_count(found: Any) -> None:
    least, largest = found["constraint"]
    assert least >= 0 and largest <= 0.5 + 1e-5
    regular = found["regular"]
    assert regular["norms"][1] < 0.9 * regular["norms"][0]
    assert regular["told"] > regular["own"] + 1000, "what a layer adds to the loss is added"


def test_a_second_step_keeps_the_zeros_of_the_first_in_layers_that_do_not_fit_it(found: Any) -> None:
    steps = found["steps"]
    assert steps["layers"] == [3, 2]
    assert steps["stay"] and steps["groups"]
    assert all(now >= then for now, then in zip(steps["recounted"], steps["gone"], strict=True))


def test_a_share_of_which_no_weight_goes_is_refused_with_one_of_which_one_does(found: Any) -> None:
    kind, text, hint = found["nothing"]
    assert kind == "UsageError" and "pruning 0.0001 leaves out no weight" in text
    assert "One of all 256 weights is a share of 0.004" in hint


def test_a_model_that_changes_where_it_is_evaluated_is_refused_before_it_is_trained(found: Any) -> None:
    kind, text, hint = found["counts"]
    assert kind == "UnsupportedError" and "something else each time" in text and "buffer" in hint
    assert found["counts_none"] is None


def test_a_loop_of_ones_own_that_trains_in_float_is_refused_behind_the_epoch(found: Any) -> None:
    loops = found["loops"]
    assert loops["fit"] is None and loops["head"] is None, "what is not moved need not be read"
    for name, when in (("copies", "epoch 1 of your loop"), ("silent", "the training of your loop")):
        kind, text, hint = loops[name]
        assert kind == "UnsupportedError" and f"{when} trained body.0.weight, head.weight in float" in text
        assert "functional_call" in hint
