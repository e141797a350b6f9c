"""Ranges of activations that training has: places in the model's graph, the same numbers, and in the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import api, pipeline, toolchains
from edgekit.compress import recipes
from edgekit.conversion.recipe import carrying
from edgekit.handed import Handed
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.scheme import Range, tensors_of
from edgekit.steps.recipe import places

CODE = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import json
import numpy as np, torch
from edgekit.compress import activations
from edgekit.compress.fakequant import on_steps, steps_of
from edgekit.compress.graph import Graph
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.scheme import Range
from edgekit.sources import source as sources

rng = np.random.default_rng(0)
picture = rng.standard_normal((2, 1, 3, 32, 32)).astype("float32")
found = {}

def loaded(framework):
    source = sources.with_framework(sources.resolve("mobilenet_v2"), framework)
    return (keras_models if framework == "keras" else torch_models).load(source)

model = loaded("torch")
graph = Graph(model)
states = graph.started([[p] for p in picture])
names, values = [], {}
with torch.no_grad():
    for node in graph.nodes:
        for state in states:
            state.run(node)
        if "clamp" in node.name or "relu" in node.name or "hardtanh" in node.name or node.op == "placeholder":
            seen = [state.value(node).numpy() for state in states]
            if seen[0].ndim == 4:
                names.append(node.name)
                values[node.name + " in the file"] = [v.transpose(0, 2, 3, 1) for v in seen]
values["of nothing"] = [rng.standard_normal((1, 4, 4, 96)).astype("float32") for _ in picture]
ranges = {name: Range(name, min(0.0, float(min(v.min() for v in seen))), float(max(v.max() for v in seen)))
          for name, seen in values.items() if name != "of nothing"}

one = Range("x", -0.7, 2.1)
x = rng.uniform(-2, 4, 10_000).astype("float32")
scale, zero, least, most = steps_of(one)
mine = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, zero, least, most).numpy()
near = np.abs(np.abs(x / scale - np.floor(x / scale)) - 0.5) > 1e-4
found["the same steps"] = bool(np.allclose(mine[near], on_steps(x.astype("float64"), one)[near], atol=1e-6))

for framework in ("torch", "keras"):
    model = loaded(framework)
    shown = picture if framework == "torch" else np.ascontiguousarray(picture.transpose(0, 1, 3, 4, 2))
    nodes = activations.places(model, [[p] for p in shown], values)
    by_node = {nodes[name]: one for name, one in ranges.items() if name in nodes}
    module = activations.on_steps(model, by_node, 4)
    batch = np.concatenate([shown[0], shown[1], shown[1]])
    fake = activations.as_loaded(model, module, 4)
    name = model.signature.inputs[0].name
    before, after = (list(m.run({name: batch}).values())[0] for m in (model, fake))
    exact = activations.as_loaded(model, activations.on_steps(model, {}, 4), 4)
    same = list(exact.run({name: batch}).values())[0]
    loss = module(torch.from_numpy(np.concatenate([batch, batch[:1]])))
    (loss[0] if isinstance(loss, tuple) else loss).square().sum().backward()
    weights = [p for p in (v.value for v in model.native.trainable_variables)] if framework == "keras" else list(
        model.native.parameters())
    found[framework] = {
        "nodes": {key: node for key, node in nodes.items()}, "places": len(by_node), "tensors": len(names),
        "same as the graph": bool(np.allclose(same, before, rtol=1e-4, atol=1e-4)),
        "moved": float(np.linalg.norm(after - before) / np.linalg.norm(before)),
        "outputs": after.tolist(),
        "without gradient": sum(p.grad is None for p in weights),
    }
found["names"] = names
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(printed: Any) -> Any:
    return json.loads(printed(CODE).splitlines()[-1])


def test_both_frameworks_round_as_the_definition_says(found: Any) -> None:
    assert found["the same steps"]


def test_a_tensor_is_the_value_of_the_graph_that_is_equal_to_it(found: Any) -> None:
    assert len(found["names"]) > 10
    assert found["torch"]["nodes"] == {f"{name} in the file": name for name in found["names"]}
    assert found["keras"]["places"] == len(found["names"]), "values are found in another layout, too"


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_training_goes_through_the_models_own_tensors(found: Any, framework: str) -> None:
    of = found[framework]
    assert of["same as the graph"], "with no ranges it computes what the model computes"
    assert 1e-4 < of["moved"] < 0.3, "and with ranges nearly that"
    assert of["without gradient"] == 0


def test_both_frameworks_compute_the_same_on_steps(found: Any) -> None:
    torch, keras = (np.array(found[framework]["outputs"]) for framework in ("torch", "keras"))
    error = np.linalg.norm(torch - keras) / np.linalg.norm(torch)
    assert error < 0.02, f"{error}: a value near the middle of two steps may fall on either"


TARGETS = [
    *("onnxruntime-int8", "openvino-int8", "tflite-int8", "coreml-int8"),
    pytest.param("tensorrt-int8", marks=pytest.mark.nightly),  # an ONNX file as ONNX Runtime's
    pytest.param("executorch-int8", marks=pytest.mark.nightly),  # takes as long as the others
]


def explored(target: str, store: Store, workers: Workers, tmp_path: Path) -> Any:
    recipe = tmp_path / "short.toml"
    recipe.write_text('schema = 1\ntitle = "Short"\n\n[[step]]\nkind = "qat"\nepochs = 1\n')
    order = api._order(Handed("lenet5@torch", None, {}, ()), target, None, "top1", (), (), trust=False)
    order = replace(order, recipe=recipes.load(str(recipe)), latency=False)
    with store.lease() as lease:
        return pipeline.explore(Run(workers, lease, lambda event, label: None), order)


@pytest.mark.parametrize("target", TARGETS)
def test_the_ranges_of_the_training_are_in_the_file(
    target: str, store: Store, workers: Workers, tmp_path: Path
) -> None:
    outcome = explored(target, store, workers, tmp_path)
    checkpoint, chosen = outcome.checkpoint, outcome.chosen
    assert chosen.status == "PASS", chosen.reason
    assert chosen.route == checkpoint.route
    assert len(checkpoint.nodes) > 4 and len(checkpoint.ranges) >= len(checkpoint.on_steps)
    facts = carrying.as_in_file(checkpoint, chosen)
    assert facts is not None and facts.steps[-1].activations == "carried"
    assert facts.steps[-1].ranges == len(checkpoint.ranges)
    other = carrying.as_in_file(checkpoint, None)
    assert other is not None and other.steps[-1].activations == "calibrated"
    [part] = next(c for c in outcome.candidates if c.route == chosen.route).parts.values()
    toolchain = target.partition("-")[0].replace("tflite", "litert").replace("onnxruntime", "onnx")
    there = toolchains.ranges_of(toolchain, Path(part.ref))
    for one in checkpoint.ranges:
        same = [other for other in there if other.tensor == one.tensor or toolchain == "executorch"]  # names no tensor
        assert any(np.isclose(o.scale, one.scale, rtol=1e-5) and o.zero_point == one.zero_point for o in same)
    assert places.lost(tmp_path, places.LostRequest(toolchain, Path(part.ref), checkpoint.ranges)) == ()
    moved = (replace(checkpoint.ranges[0], high=checkpoint.ranges[0].high * 1.01), *checkpoint.ranges[1:])
    lost = places.lost(tmp_path, places.LostRequest(toolchain, Path(part.ref), moved))
    assert lost == (checkpoint.ranges[0].tensor,)


RESIDUAL = """
import numpy as np, torch
from torch import nn

class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)
        self.example_inputs = (torch.zeros(1, 3, 8, 8),)
    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.third(torch.relu(self.second(x) + x)).mean((2, 3))

def build():
    return Residual().eval()
"""


def test_ranges_of_core_ml_are_in_the_units_of_the_values(store: Store, workers: Workers, tmp_path: Path) -> None:
    """coremltools divides what a sum joins, and the steps behind it, by a step of theirs."""
    (tmp_path / "model.py").write_text(RESIDUAL)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((64, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    np.savez(tmp_path / "other.npz", x=rng.standard_normal(rows.shape).astype(np.float32))
    data = {"calibrate": str(tmp_path / "rows.npz"), "evaluate": str(tmp_path / "other.npz")}
    files = Handed(f"{tmp_path}/model.py:build", None, data, ())
    order = replace(api._order(files, "coreml-int8", None, "top1", (), (), trust=True), latency=False)
    with store.lease() as lease:
        outcome = pipeline.explore(Run(workers, lease, lambda event, label: None), order)
        [part] = outcome.candidates[0].parts.values()
        assert outcome.twin is not None
        ranges = toolchains.ranges_of("coreml", Path(part.ref))
        twin = Path(outcome.twin.parts["model"].ref)
        name = outcome.checkpoint.signatures["model"].inputs[0].name
        seen = toolchains.values_of("coreml", twin, [one.tensor for one in ranges], {name: rows[:, None]})
    assert len(seen) == len(ranges) > 3
    for one in ranges:
        values = np.stack(seen[one.tensor])
        assert 0.8 < (one.high - one.low) / (max(values.max(), 0) - min(values.min(), 0)) < 1.3, one.tensor


NORMED = """
import torch
from torch import nn

class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.scale = nn.Parameter(torch.tensor([0.5, -0.25, 1.0, 0.3]))
        self.again = nn.Buffer(self.scale.detach().clone())
        self.example_inputs = (torch.zeros(1, 4),)
    def forward(self, x):
        h = self.first(x)
        square = h * h
        return self.second(h) + square * self.scale + square * self.again

def build():
    return Normed().eval()
"""

UNROUNDED = """
import sys
import torch
from edgekit.compress import activations
from edgekit.compress.fakequant import steps_of
from edgekit.frameworks import torch as torch_models
from edgekit.scheme import Range
from edgekit.sources import source as sources

model = torch_models.load(sources.resolve(sys.argv[1], trust=True))
x = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
first, second = model.native.first, model.native.second
scale = model.native.scale
h = first(x)
rounded = torch.fake_quantize_per_tensor_affine(h, *steps_of(Range("linear", -0.5, 1.0)))
for unrounded, scaled, added in (
    ((), rounded, rounded),
    (("mul",), h, h),
    (("mul_1",), h, rounded),  # what comes of the square, which others read of the rounded value
):
    one = Range("linear", -0.5, 1.0, unrounded=unrounded)
    wanted = second(rounded) + scaled * scaled * scale + added * added * scale
    torch.testing.assert_close(activations.on_steps(model, {"linear": one}, 3)(x), wanted)
    assert not torch.equal(h, rounded)

# Of equal constants a file's ranges go to one, and are for all.
samples, scale = [[x[:1].numpy()], [x[1:2].numpy()]], model.native.scale.detach()
nodes = activations.places(model, samples, {"a constant": [scale.numpy()] * 2})
one = Range("a constant", -0.25, 1.0)
rounded = torch.fake_quantize_per_tensor_affine(scale, *steps_of(one))
h = first(x)
module = activations.on_steps(model, {nodes["a constant"]: one}, 3)
torch.testing.assert_close(module(x), second(h) + 2 * h * h * rounded)
module(x).sum().backward()
assert model.native.scale.grad is not None, "a norm's scales are trained on their steps"
"""


def test_what_reads_the_values_as_they_were_does_so_in_training(tmp_path: Path, printed: Any) -> None:
    """A norm beside a sum that takes integers: Core ML's files of transformers have these.

    And constants have steps of their own in ExecuTorch's, where they are multiplied place by place.
    """
    (tmp_path / "normed.py").write_text(NORMED)
    source = f"{tmp_path / 'normed.py'}:build"
    printed(UNROUNDED, source)


def test_names_of_another_file_go_to_what_is_unrounded_too() -> None:
    one = Range("a", -1, 1, unrounded=("b", "c"))
    assert one.called({"a": "x", "b": "y"}) == Range("x", -1, 1, unrounded=("y",))
    assert tensors_of([one, Range("b", -1, 1)]) == ["a", "b", "c"]
