"""Training with weights on the grid: the same numbers in both frameworks, files that keep them, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit import api, toolchains
from edgekit.errors import UnsupportedError, UsageError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

CODE = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import json, math
import numpy as np, torch
from edgekit import zoo
from edgekit.compress import qat
from edgekit.compress.fakequant import grid_of
from edgekit.compress.training import losses
from edgekit.errors import EdgekitError
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.reference.quantize import fake_quantized
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources
from edgekit.zoo import Training, weights

def loaded(name, framework):
    source = sources.with_framework(sources.resolve(name), framework)
    return (keras_models if framework == "keras" else torch_models).load(source)

def chosen(precision, kinds=()):
    return lambda names, *layer: grid_of(SCHEMES[precision], kinds, *layer)

found = {"grids": {}}
for name in ("mobilenet_v2", "unet", "char_llama"):
    before, after, counts = {}, {}, {}
    for framework in ("torch", "keras"):
        model = loaded(name, framework)
        canonical = weights.from_keras if framework == "keras" else weights.from_torch
        before[framework] = {k.replace(".", "_"): v for k, v in canonical(model.native).items()}
        layers, without = qat.find_layers(model, chosen("int8"))
        counts[framework] = [len(layers), list(without)]
        with qat.quantized(layers):
            after[framework] = {k.replace(".", "_"): v for k, v in canonical(model.native).items()}
        back = {k.replace(".", "_"): v for k, v in canonical(model.native).items()}
        assert all((back[k] == v).all() for k, v in before[framework].items()), "and as they were behind"
    matrices = [k for k, v in before["torch"].items() if v.ndim > 1]
    def oracle(key):
        value = before["torch"][key]
        rows = value.swapaxes(0, 1) if key.startswith("up_") else value  # of a transposed convolution
        return fake_quantized(rows.reshape(len(rows), -1), 8).astype("float32").reshape(rows.shape)
    def rows(key, framework):
        value = after[framework][key]
        return value.swapaxes(0, 1) if key.startswith("up_") else value
    found["grids"][name] = {
        "layers": counts, "matrices": len(matrices),
        "same": all((after["torch"][k] == after["keras"][k]).all() for k in after["torch"]),
        "oracle": [k for k in matrices if not (rows(k, "torch") == oracle(k)).all()],
        "others": [k for k, v in before["torch"].items() if v.ndim < 2 and not (after["torch"][k] == v).all()],
    }

_, without = qat.find_layers(loaded("lstm_classifier", "torch"), chosen("int8"))
found["without"] = list(without)
try:
    qat.check([], without, allow_mixed=False)
except EdgekitError as error:
    found["refused"] = [type(error).__name__, str(error)]

rng = np.random.default_rng(0)
labels = torch.from_numpy(rng.integers(0, 10, 256))
x = torch.from_numpy(rng.standard_normal((256, 64)).astype("float32")) + labels[:, None] / 3

def run(bad=None, epochs=3):
    model, steps = loaded("mlp", "torch"), 0
    shape = model.signature.inputs[0].row
    inputs = x.reshape(256, *shape) if math.prod(shape) == 64 else None
    layers, _ = qat.find_layers(model, chosen("int4-dynamic", ("linear",)))
    loss = losses.loss_for(model, [inputs[:8]], labels)
    def counted(outputs, of):
        nonlocal steps
        steps += 1
        return loss(outputs, of) * (math.nan if steps == bad else 1)
    def score():
        outputs = model.native(inputs)
        return float((outputs.argmax(1) == labels).float().mean())
    training = Training(epochs=epochs, batch=64)
    trained = qat.train(model, layers, [], counted, [inputs], labels, training, score, higher=True)
    ended = [layer.own.detach().numpy().reshape(-1)[layer.rows] for layer in layers]
    on_grid = all((rows == fake_quantized(rows, 4).astype("float32")).all() for rows in ended)
    return trained, on_grid, {k: v.numpy().copy() for k, v in model.native.state_dict().items()}

first, on_grid, state = run()
again, _, same = run()
found["trained"] = {"on_grid": on_grid, "layers": first.layers, "losses": first.losses, "values": first.values,
                    "repeats": first == again and all((state[k] == same[k]).all() for k in state)}
stopped, on_grid, state = run(bad=7)
found["stopped"] = {"text": stopped.stopped, "kept": stopped.kept, "epochs": len(stopped.losses), "on_grid": on_grid,
                    "finite": all(np.isfinite(v).all() for v in state.values())}
for key, wrong in (("early", lambda: run(bad=2)), ("labels", lambda: losses.loss_for(
        loaded("mlp", "torch"), [x[:8].reshape(8, *loaded("mlp", "torch").signature.inputs[0].row)], labels + 5))):
    try:
        wrong()
    except EdgekitError as error:
        found[key] = [type(error).__name__, str(error), error.hint]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(printed: Any) -> Any:
    return json.loads(printed(CODE).splitlines()[-1])


@pytest.mark.parametrize("name", ["mobilenet_v2", "unet", "char_llama"])
def test_both_frameworks_and_the_oracle_give_the_same_numbers(name: str, found: Any) -> None:
    grids = found["grids"][name]
    count = grids["matrices"]
    assert grids["layers"] == {"torch": [count, []], "keras": [count, []]}, (
        "depthwise and transposed ones, and tables, as well"
    )
    assert grids["same"] and grids["oracle"] == [] and grids["others"] == []


def test_layers_without_a_rule_are_named(found: Any) -> None:
    assert found["without"], "a recurrent layer has none"
    kind, text = found["refused"]
    assert kind == "UnsupportedError" and found["without"][0] in text


def test_training_ends_on_the_grid_and_repeats(found: Any) -> None:
    trained = found["trained"]
    assert trained["on_grid"] and trained["repeats"]
    assert trained["layers"] > 1 and len(trained["losses"]) == 3 and len(trained["values"]) == 4
    assert trained["losses"][-1] < trained["losses"][0], "it learns"


def test_a_loss_that_is_no_number_keeps_the_last_good_epoch(found: Any) -> None:
    """Four steps an epoch: the seventh is in the second epoch."""
    stopped = found["stopped"]
    assert "nan in epoch 2, step 3 of 4" in stopped["text"] and "were kept" in stopped["text"]
    assert (stopped["epochs"], stopped["on_grid"], stopped["finite"]) == (1, True, True) and stopped["kept"] <= 1
    kind, text, hint = found["early"]
    assert kind == "FailedError" and "nan in epoch 1, step 2 of 4" in text and "learning rate" in hint


def test_labels_that_fit_no_loss_are_refused(found: Any) -> None:
    kind, text, hint = found["labels"]
    assert kind == "UsageError" and "fit no loss" in text and "class numbers" in hint


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_file_computes_what_the_trained_model_does(
    framework: str, tmp_path: Path, workers: Workers, store: Store
) -> None:
    result = edgekit.convert(
        f"lenet5@{framework}", "tflite-int4", qat=1, output=tmp_path / "out", latency=False,
        store=store, workers=workers,
    )  # fmt: skip
    assert result.status == "PASS"
    assert result.parity.sqnr_db >= 40, "weights carry; activations alone are quantized anew"
    [step] = json.loads((tmp_path / "out" / "manifest.json").read_text())["recipe"]["steps"]
    assert (step["kind"], step["layers"], step["train_samples"], step["activations"]) == ("qat", 5, 569, "dynamic")
    assert [epoch["epoch"] for epoch in step["curve"]] == [0, 1] and step["curve"][0]["loss"] is None
    assert result.accuracy.checkpoint is not None and {one.recipe for one in result.routes_tried} == {"qat"}
    assert any(note.startswith("qat: trained for 1 epoch ") for note in result.notes)


LOADED = {
    "keras": """
import sys, numpy as np, keras
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
weights = [w.numpy().T for w in model.weights if w.ndim == 2]
""",
    "torch": """
import sys, numpy as np, torch
from safetensors.torch import load_file
module, state = torch.export.load(sys.argv[1] + "/model.pt2"), load_file(sys.argv[1] + "/model.safetensors")
assert all(torch.equal(value, module.state_dict[name]) for name, value in state.items())
weights = [w.numpy() for w in state.values() if w.ndim == 2]
""",
}


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_checkpoint_loads_without_edgekit(framework: str, tmp_path: Path, workers: Workers, store: Store) -> None:
    made = api.compress(
        f"mlp@{framework}", "tflite-int4", qat=1, output=tmp_path / "out", store=store, workers=workers,
    )  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*made["files"], "recipe.json"])
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["recipe"] == made["recipe"]
    code = (
        LOADED[framework]
        + "np.savez(sys.argv[2], *weights)\nassert not any(m.startswith('edgekit') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "out", tmp_path / "w.npz"], check=True, cwd=tmp_path)
    with np.load(tmp_path / "w.npz") as file:
        for weights in file.values():
            steps = weights / (np.abs(weights).max(axis=1, keepdims=True) / 7)
            assert np.allclose(steps, np.rint(steps), atol=1e-4)


def test_a_model_that_is_called_step_by_step_is_refused(tmp_path: Path, workers: Workers, store: Store) -> None:
    with pytest.raises(UnsupportedError, match="step by step"):
        api.compress(
            "denoiser_rnn@torch", "tflite-int8", qat=1, output=tmp_path / "out", store=store, workers=workers,
        )  # fmt: skip


MODEL = """
import torch

def build():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    model.example_inputs = (torch.zeros(1, 12),)
    return model
"""


def three_classes(folder: Path) -> None:
    """``train.npz`` and ``evaluate.npz``; three samples of the latter are in both."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 900)
    x = (rng.standard_normal((900, 12)) + 2 * np.eye(12)[labels]).astype("float32")
    x[:3] = x[600:603]
    np.savez(folder / "train.npz", x=x[:600], y=labels[:600])
    np.savez(folder / "evaluate.npz", x=x[600:], y=labels[600:])


def test_a_model_and_data_of_ones_own_are_trained(tmp_path: Path, workers: Workers) -> None:
    """Three copies of evaluation samples are among those to train on, and are left out."""
    (tmp_path / "own.py").write_text(MODEL)
    three_classes(tmp_path)
    (tmp_path / "own.toml").write_text(
        'schema = 1\ntitle = "x"\n[[step]]\nkind = "qat"\nepochs = 3\nbatch = 32\nlearning_rate = 1e-2\n'
    )
    result = edgekit.convert(
        f"{tmp_path}/own.py:build", "tflite-int4", recipe=str(tmp_path / "own.toml"), latency=False,
        train=str(tmp_path / "train.npz"), evaluate=str(tmp_path / "evaluate.npz"), output=tmp_path / "out",
        store=Store(tmp_path / "home"), workers=workers,
    )  # fmt: skip
    assert result.recipe is not None and result.accuracy is not None
    [step] = result.recipe.steps
    assert (step.train_samples, step.dropped, step.selection_samples) == (597, 3, 90)
    assert result.accuracy.samples == 210
    assert step.curve[step.kept].value > step.curve[0].value + 0.2, "the source was not trained at all"
    assert result.accuracy.artifact > result.accuracy.float_ + 0.2


MOVED = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = torch.nn.Linear(12, 16), torch.nn.Linear(16, 3)
        self.register_buffer("mean", torch.zeros(12), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean = x.mean(0)
        return self.out(torch.relu(self.inner(x - self.mean)))

def build():
    torch.manual_seed(0)
    model = Net()
    model.example_inputs = (torch.zeros(1, 12),)
    return model
"""


def test_what_training_moves_and_no_weight_holds_is_refused(tmp_path: Path, workers: Workers) -> None:
    """The curve would be of a model that is not what is written."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((300, 12)).astype("float32") + 1, rng.integers(0, 3, 300)
    (tmp_path / "own.py").write_text(MOVED)
    np.savez(tmp_path / "train.npz", x=x[:200], y=labels[:200])
    np.savez(tmp_path / "evaluate.npz", x=x[200:], y=labels[200:])
    with pytest.raises(UnsupportedError, match="does not compute what was trained") as caught:
        api.compress(
            f"{tmp_path}/own.py:build", "tflite-int8", qat=1, train=str(tmp_path / "train.npz"),
            evaluate=str(tmp_path / "evaluate.npz"), output=tmp_path / "out", store=Store(tmp_path / "home"),
            workers=workers,
        )  # fmt: skip
    assert "training changed more than its weights" in caught.value.hint
    assert not (tmp_path / "out").exists()


TWO = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = torch.nn.Linear(12, 16), torch.nn.Linear(16, 3)

    def forward(self, x):
        embedding = torch.relu(self.inner(x))
        return {"embedding": embedding, "logits": self.out(embedding)}

def build():
    torch.manual_seed(0)
    model = Net()
    model.example_inputs = (torch.zeros(1, 12),)
    return model
"""


def test_of_several_outputs_the_one_that_is_said_to_be_the_classes_is_trained(tmp_path: Path, workers: Workers) -> None:
    (tmp_path / "two.py").write_text(TWO)
    three_classes(tmp_path)
    compress = partial(
        api.compress, f"{tmp_path}/two.py:build", "tflite-int4", qat=2, train=str(tmp_path / "train.npz"),
        evaluate=str(tmp_path / "evaluate.npz"), store=Store(tmp_path / "home"), workers=workers,
    )  # fmt: skip
    with pytest.raises(UsageError, match="outputs embedding, logits, and nothing says which"):
        compress(output=tmp_path / "out")
    found = compress(output=tmp_path / "out", outputs=["logits=classes"])
    curve = found["recipe"]["steps"][0]["curve"]
    assert curve[1]["loss"] < np.log(3), "of three classes, and not of sixteen"


def test_tables_are_trained_where_files_have_them_as_integers() -> None:
    """NNCF stores a table in int8, per row; ONNX Runtime's static files keep it in float; a target may name its own."""
    assert "embedding" in toolchains.layers("openvino", ())
    assert "embedding" not in toolchains.layers("onnx", ()) and "linear" in toolchains.layers("onnx", ())
    assert toolchains.layers("onnx", ("linear", "embedding")) == ("linear", "embedding")
