"""Training that nobody loses work in: it goes on to the bit, keeps its best epoch, and takes a loop of one's own."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import api
from edgekit.errors import EdgekitError, FailedError, UnsupportedError, UsageError
from edgekit.jobs import store
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

#: Models with all that a training has beside its weights: statistics of batches, and dropout.
MODELS = """
import torch

def build():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(12, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Dropout(0.3),
        torch.nn.Linear(32, 3),
    )
    model.example_inputs = (torch.zeros(1, 12),)
    return model
"""
KERAS = """
import keras

def build():
    keras.utils.set_random_seed(0)
    x = given = keras.Input((12,), name="x")
    x = keras.layers.BatchNormalization()(keras.layers.Dense(32)(x))
    x = keras.layers.Dropout(0.3)(keras.layers.ReLU()(x))
    return keras.Model(given, keras.layers.Dense(3)(x))
"""


def given(folder: Path, *, epochs: int = 5, learning_rate: float = 3e-3, batch: int = 32) -> dict[str, Any]:
    """A model of each framework that learns three classes, samples, and a recipe."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1200)
    x = (rng.standard_normal((1200, 12)) + np.eye(12)[labels]).astype("float32")
    (folder / "own.py").write_text(MODELS)
    (folder / "own_keras.py").write_text(KERAS)
    np.savez(folder / "train.npz", x=x[:900], y=labels[:900])
    np.savez(folder / "evaluate.npz", x=x[900:], y=labels[900:])
    (folder / "own.toml").write_text(
        f'schema = 1\ntitle = "x"\n[[step]]\nkind = "qat"\nepochs = {epochs}\nbatch = {batch}\n'
        f"learning_rate = {learning_rate}\n"
    )
    return {
        "train": str(folder / "train.npz"),
        "evaluate": str(folder / "evaluate.npz"),
        "recipe": str(folder / "own.toml"),
        "output": folder / "out",
    }


SOURCES = {"torch": "own.py:build", "keras": "own_keras.py:build"}


def compressed(workers: Workers, folder: Path, framework: str = "torch", **options: Any) -> dict[str, Any]:
    """What ``compress`` makes of one of them, with the store in the folder."""
    asked = given(folder) | options
    return api.compress(
        f"{folder}/{SOURCES[framework]}", "tflite-int8-dynamic", store=Store(folder / "home"), workers=workers, **asked,
    )  # fmt: skip


def curve(made: dict[str, Any]) -> list[Any]:
    [step] = made["recipe"]["steps"]
    return [step["curve"], step["kept"]]


RESUMED = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import io, json, sys
from pathlib import Path
import numpy as np, torch
from edgekit.compress import qat
from edgekit.compress.fakequant import grid_of
from edgekit.compress.training import losses
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources
from edgekit.zoo import Training

folder = Path(sys.argv[1])
with np.load(folder / "train.npz") as file:
    inputs, labels = [torch.from_numpy(file["x"])], torch.from_numpy(file["y"])
chosen = lambda names, *layer: grid_of(SCHEMES["int8-dynamic"], (), *layer)
training = Training(epochs=5, batch=32, learning_rate=3e-3)

def run(framework, behind=None, left=None):
    source = sources.resolve(str(folder / {"torch": "own.py", "keras": "own_keras.py"}[framework]) + ":build")
    source = sources.with_framework(source, framework)
    model = (keras_models if framework == "keras" else torch_models).load(source)
    if behind is not None:  # another process would have drawn other numbers by now
        torch.manual_seed(99)
        np.random.seed(99)
    layers, _ = qat.find_layers(model, chosen)
    loss = losses.loss_for(model, [inputs[0][:8]], labels)
    def score():
        [found] = model.run({model.signature.inputs[0].name: inputs[0].numpy()}).values()
        return float((found.argmax(1) == labels.numpy()).mean())
    states = {}
    def keep(found, state):
        saved = io.BytesIO()
        torch.save(dict(state), saved)
        states[len(found.losses)] = saved.getvalue()
    state = torch.load(io.BytesIO(behind), weights_only=True) if behind else None
    found = qat.train(
        model, layers, [], loss, inputs, labels, training, score, higher=True, keep=keep, behind=state
    )
    return found, states, [t.detach().clone() for t in qat.tensors_of(model)]

found = {}
for framework in ("torch", "keras"):
    whole, states, weights = run(framework)
    again, _, same = run(framework)
    found[framework] = {"losses": whole.losses, "repeats": whole == again and all(map(torch.equal, weights, same))}
    for epoch in (1, 3, 4):
        rest, later, ended = run(framework, behind=states[epoch])
        found[framework][epoch] = [rest == whole, all(map(torch.equal, weights, ended)), sorted(later)]
print(json.dumps(found))
"""


def test_training_that_goes_on_gives_what_an_undisturbed_one_does_to_the_bit(tmp_path: Path, printed: Any) -> None:
    """Optimizer, schedule, dropout, statistics of norms: with those of the fourth epoch frozen, too."""
    given(tmp_path)
    found = json.loads(printed(RESUMED, tmp_path).splitlines()[-1])
    for framework in ("torch", "keras"):
        assert found[framework]["repeats"], "dropout draws the same numbers in every run"
        assert found[framework]["losses"][-1] < found[framework]["losses"][0], "it learns"
        for epoch in (1, 3, 4):
            assert found[framework][str(epoch)] == [True, True, list(range(epoch + 1, 6))]


def program(folder: Path, home: str = "home", *more: str) -> subprocess.Popen[str]:
    """The command line on it: six epochs of a second or less."""
    asked = given(folder, epochs=6, batch=4)
    command = [sys.executable, "-m", "edgekit", "compress", f"{folder}/{SOURCES['torch']}", "--json"]
    command += ["--target", "tflite-int8-dynamic", "--train", asked["train"], "--evaluate", asked["evaluate"]]
    command += ["--recipe", asked["recipe"], "-o", str(folder / f"out-{home}"), *more]
    environment = {**os.environ, "EDGEKIT_HOME": str(folder / home)}
    heeds = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  # started in the background it would not
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds
    )


def until(run: subprocess.Popen[str], text: str) -> list[str]:
    """What a run says on stderr up to a text."""
    assert run.stderr is not None
    said = []
    for line in run.stderr:
        said.append(line)
        if text in line:
            return said
    raise AssertionError("".join(said))


@pytest.mark.nightly  # half a minute; in process in every run
def test_a_killed_and_an_interrupted_training_go_on_and_give_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    run = program(tmp_path)
    until(run, "train:qat: epoch 1 of 6, loss ")
    run.kill()
    run.communicate()
    run = program(tmp_path)
    said = until(run, "epoch 3 of 6")
    assert not any("epoch 1 of 6" in line for line in said), "it goes on behind the first"
    run.send_signal(signal.SIGINT)
    answer, _ = run.communicate(timeout=120)
    assert run.returncode == 130
    document = json.loads(answer)
    place = tmp_path / "out-home.unfinished"
    assert document["error"]["code"] == "interrupted"
    assert "Of 6 epochs " in document["error"]["hint"] and str(place) in document["error"]["hint"]
    facts = json.loads((place / "recipe.json").read_text())
    assert facts["complete"] is False and "did not come to its end" in facts["recipe"]["steps"][0]["stopped"]
    assert (place / "model.pt2").is_file()
    assert not (tmp_path / "out-home").exists()

    run = program(tmp_path)
    answer, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    made = json.loads(answer)
    assert any("went on behind epoch " in note for note in made["notes"])
    assert made["complete"] and not place.exists(), "the whole takes its place"
    assert list((tmp_path / "home" / "unfinished").glob("*")) == []
    undisturbed = program(tmp_path, "another")
    answer, errors = undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0, errors
    assert curve(json.loads(answer)) == curve(made)
    weights = [(tmp_path / f"out-{home}" / "model.safetensors").read_bytes() for home in ("home", "another")]
    assert weights[0] == weights[1]


def test_a_full_disk_in_the_third_epoch_loses_none_of_the_first_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Workers
) -> None:
    flush = store.flush_folder

    def full(folder: Path) -> None:
        if folder.name == "epoch-3.whole":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(folder)

    with monkeypatch.context() as patch:
        patch.setattr(store, "flush_folder", full)
        with pytest.raises(UsageError, match="No space left on device") as caught:
            compressed(workers, tmp_path)
    assert "Free space" in caught.value.hint
    assert "Of 5 epochs 2 were complete: the same command goes on behind epoch 2." in caught.value.hint
    assert f"The best epoch so far is in {tmp_path}/out.unfinished." in caught.value.hint
    made = compressed(workers, tmp_path)
    assert len(curve(made)[0]) == 6 and any("went on behind epoch 2" in note for note in made["notes"])


# Loops of one's own.

FIT = """
import numpy as np
import torch

def fit(model, data, *, epochs, seed, report):
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    model.train()
    for epoch in range(1, epochs + 1):
        losses = []
        for inputs, labels in data.batches(32):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(*inputs), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            report(epoch=epoch, step=len(losses), steps=len(data) // 32, loss=losses[-1])
        assert model.training and model[1].training, "measuring puts nothing else than it was"
        report(epoch=epoch, loss=np.mean(losses))
"""
KERAS_FIT = """
import keras

def fit(model, data, *, epochs, seed, report):
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: report(epoch=epoch + 1, loss=logs["loss"]))
    model.fit(data.inputs[0].numpy(), data.labels.numpy(), batch_size=32, epochs=epochs, verbose=0, callbacks=[told])
"""

LOADED = {
    "torch": """
import sys, numpy as np
from safetensors.torch import load_file
import torch
weights = [w.numpy() for w in load_file(sys.argv[1] + "/model.safetensors").values() if w.ndim == 2]
module = torch.export.load(sys.argv[1] + "/model.pt2").module()
assert [module(torch.zeros(n, 12)).shape for n in (1, 5)] == [(1, 3), (5, 3)], "of any number of samples"
""",
    "keras": """
import sys, numpy as np, keras
weights = [w.numpy().T for w in keras.saving.load_model(sys.argv[1] + "/model.keras").weights if len(w.shape) == 2]
""",
}


@pytest.mark.parametrize("framework", ["torch", pytest.param("keras", marks=pytest.mark.nightly)])
def test_a_loop_of_ones_own_trains_on_the_grid(framework: str, tmp_path: Path, workers: Workers) -> None:
    (tmp_path / "loop.py").write_text(FIT if framework == "torch" else KERAS_FIT)
    made = compressed(workers, tmp_path, framework, fit=f"{tmp_path}/loop.py:fit")
    found, kept = curve(made)
    assert [epoch["epoch"] for epoch in found] == [0, 1, 2, 3, 4, 5]
    assert all(epoch["loss"] > 0 for epoch in found[1:])
    assert found[kept]["value"] == max(epoch["value"] for epoch in found) > found[0]["value"] + 0.2
    assert made["recipe"]["steps"][0]["layers"] == 2 and made["batch"] is None
    settings = made["recipe"]["steps"][0]["settings"]
    assert {type(settings[key]) for key in ("epochs", "batch", "seed")} == {int}
    assert any("loop.py:fit" in note for note in made["notes"])
    code = LOADED[framework] + "np.savez(sys.argv[2], *weights)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "out", tmp_path / "w.npz"], check=True)
    with np.load(tmp_path / "w.npz") as file:
        assert len(file.files) == 2
        for weights in file.values():
            steps = weights / (np.abs(weights).max(axis=1, keepdims=True) / 127)
            assert np.allclose(steps, np.rint(steps), atol=2e-3)


READ = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import json
import torch
from edgekit.compress import qat
from edgekit.compress.training import own_loop
from edgekit.compress.fakequant import grid_of
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.frameworks.of_keras import outputs as keras_outputs
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources

found = {}
for name, precision in (("mobilenet_v2", "int8"), ("unet", "int8"), ("gpt", "int4-dynamic"), ("char_llama", "int8")):
    for framework in ("torch", "keras"):
        source = sources.with_framework(sources.resolve(name), framework)
        model = (keras_models if framework == "keras" else torch_models).load(source)
        layers, _ = qat.find_layers(model, lambda names, *layer: grid_of(SCHEMES[precision], (), *layer))
        spec = model.signature.inputs[0]
        torch.manual_seed(0)
        shape = (4, *spec.row)
        whole = "int" in spec.dtype
        x = torch.randint(0, 8, shape, dtype=getattr(torch, spec.dtype)) if whole else torch.randn(shape)
        parameters = qat.parameters(model, [])
        def step():
            for p in parameters:
                p.grad = None
            if framework == "keras":
                [y, *_] = keras_outputs.forward(model.native, [x])
            else:
                y = model.native(x)
                y = y[0] if isinstance(y, tuple) else y
            y.square().mean().backward()
            return y.detach().clone(), [p.grad.clone() for p in parameters if p.grad is not None]
        with qat.quantized(layers):
            swapped = step()
        with own_loop.OnGrid(layers) as grid:
            read = step()
        plain = step()
        found[f"{name}@{framework}"] = {
            "layers": len(layers), "read": len(grid.read), "outputs": torch.equal(swapped[0], read[0]),
            "gradients": len(read[1]) == len(swapped[1]) > 0 and all(map(torch.equal, swapped[1], read[1])),
            "other": not torch.equal(plain[0], read[0]),
        }
print(json.dumps(found))
"""


def test_a_loop_of_ones_own_meets_the_numbers_and_gradients_that_edgekits_does(printed: Any) -> None:
    for model, found in json.loads(printed(READ).splitlines()[-1]).items():
        assert found["layers"] == found["read"] > 2, model
        assert found["outputs"] and found["gradients"] and found["other"], model


FIXED = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import sys
import torch
from edgekit import user_code
from edgekit.compress import qat
from edgekit.compress.training import own_loop
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.sources import source as sources
from edgekit.zoo import Training

for framework, file in (("torch", "own.py"), ("keras", "own_keras.py")):
    source = sources.with_framework(sources.resolve(f"{sys.argv[1]}/{file}:build"), framework)
    model = (keras_models if framework == "keras" else torch_models).load(source)
    norm = model.native[1].weight if framework == "torch" else model.native.layers[2].gamma.value
    before = [t.detach().clone() for t in qat.tensors_of(model)]
    at = [t.data_ptr() for t in qat.tensors_of(model)].index(norm.data_ptr())
    data = own_loop.Data((torch.randn(64, 12),), torch.randint(0, 3, (64,)))
    function = user_code.find(f"{sys.argv[1]}/{framework}_loop.py:fit", "")
    own_loop.loop(function, model, [], [norm.detach()], data, Training(epochs=1))(lambda ended: None)
    same = [torch.equal(a, b) for a, b in zip(before, qat.tensors_of(model))]
    assert same[at] and not same[at + 1] and not same[0], (framework, same)
    assert norm.requires_grad, "and is trained again behind it"
"""


def test_scales_that_are_folded_stay_where_they_are(tmp_path: Path, printed: Any) -> None:
    given(tmp_path)
    (tmp_path / "torch_loop.py").write_text(FIT)
    (tmp_path / "keras_loop.py").write_text(KERAS_FIT)
    printed(FIXED, tmp_path)


def fails(said: str, hint: str, kind: type[EdgekitError] = UsageError) -> tuple[type[EdgekitError], str, str]:
    return kind, said, hint


WRONG: dict[str, tuple[str, tuple[type[EdgekitError], str, str]]] = {
    "raises": ("model.nothing", fails("line 3: model.nothing", "takes (model, data, *, epochs, seed, report)")),
    "other weights": (
        "model[0].weight = torch.nn.Parameter(torch.zeros(32, 12))",
        fails("put other tensors into the model", "in place"),
    ),
    "other names": ("model[0] = torch.nn.Sequential(model[0])", fails("or under other names", "in place")),
    "another class": (
        "model.__class__ = torch.nn.ModuleList",
        fails("made a ModuleList of the Sequential", "in place"),
    ),
    "no order": ("report(epoch=2, loss=1)", fails("epoch=2) came behind epoch 0", "report(epoch=1, loss=...)")),
    "no numbers": (
        "torch.nn.init.constant_(model[0].weight, float('nan'))",
        fails("left weights that are NaN", "learning rate", FailedError),
    ),
    "no loss": (
        "report(epoch=1, loss=float('nan'))",
        fails("training loss became nan in epoch 1", "learning rate", FailedError),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_a_loop_of_ones_own_must_not_do(what: str, tmp_path: Path, workers: Workers) -> None:
    line, (kind, said, hint) = WRONG[what]
    head = "import torch\ndef fit(model, data, *, epochs, seed, report):\n    "
    (tmp_path / "loop.py").write_text(f"{head}{line}\n")
    with pytest.raises(kind) as caught:
        compressed(workers, tmp_path, fit=f"{tmp_path}/loop.py:fit")
    assert said in str(caught.value)
    assert hint in caught.value.hint
    assert sorted(path.name for path in tmp_path.glob("out*")) == []


def test_a_loop_that_changes_more_than_weights_is_refused(tmp_path: Path, workers: Workers) -> None:
    line = "model.register_forward_hook(lambda module, given, made: made * 2)"
    (tmp_path / "loop.py").write_text(f"def fit(model, data, *, epochs, seed, report):\n    {line}\n")
    with pytest.raises(UnsupportedError, match="does not compute what was trained") as caught:
        compressed(workers, tmp_path, fit=f"{tmp_path}/loop.py:fit")
    assert "loop.py:fit changed more than its weights" in caught.value.hint
    assert not (tmp_path / "out").exists()


CHANGED: dict[str, tuple[str, tuple[type[EdgekitError], str], int]] = {
    "a hook": (
        "model.register_forward_hook(lambda module, given, made: made * 2)",
        (UnsupportedError, "does not compute what was trained"),
        1,
    ),
    "a wrapped layer": ("model[0] = torch.nn.Sequential(model[0])", (UsageError, "or under other names"), 0),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_changed_model_is_found_when_it_is_first_reported(what: str, tmp_path: Path, workers: Workers) -> None:
    """And not behind the whole training; nothing of it is called the best epoch."""
    line, (kind, said), epochs = CHANGED[what]
    behind = "        report(epoch=epoch, loss=np.mean(losses))\n"
    begun = FIT.replace("    model.train()\n", f"    {line}\n    model.train()\n").replace("and model[1].training", "")
    noted = f"        open({str(tmp_path / 'epochs')!r}, 'a').write('x')\n"
    (tmp_path / "loop.py").write_text(begun.replace(behind, noted + behind))
    (tmp_path / "epochs").write_text("")
    with pytest.raises(kind, match=said) as caught:
        compressed(workers, tmp_path, fit=f"{tmp_path}/loop.py:fit")
    assert len((tmp_path / "epochs").read_text()) == epochs
    assert "best epoch" not in caught.value.hint and "were complete" not in caught.value.hint
    assert sorted(path.name for path in tmp_path.glob("out*")) == []


def test_a_keyboard_interrupt_of_a_loop_is_one(tmp_path: Path) -> None:
    """A loop that asks a user, or a debugger in it, ends as Ctrl-C does: with its code, and the best epoch."""
    behind = "        report(epoch=epoch, loss=np.mean(losses))\n"
    ends = f"        if epoch == 3:\n            raise KeyboardInterrupt\n{behind}"
    (tmp_path / "loop.py").write_text(FIT.replace(behind, ends))
    run = program(tmp_path, "home", "--fit", f"{tmp_path}/loop.py:fit")
    answer, errors = run.communicate(timeout=300)
    assert run.returncode == 130, errors
    error = json.loads(answer)["error"]
    assert error["code"] == "interrupted" and "Traceback" not in errors
    assert "Of 6 epochs 2 were complete" in error["hint"] and "out-home.unfinished" in error["hint"]
    assert (tmp_path / "out-home.unfinished" / "model.pt2").is_file()


DOUBTFUL = {
    "one class": ("", {"y": np.full(40, 2)}, "qat: all labels of the 40 training samples are 2"),
    "no step": ("report(epoch=1, loss=1.0)", {}, "qat: no weight has changed in loop.py:fit"),
    "one sample": ("report(epoch=1, loss=1.0)", {"count": 1}, "qat: there is one training sample alone"),
}


@pytest.mark.parametrize("what", DOUBTFUL)
def test_what_makes_one_doubt_a_training_is_said(what: str, tmp_path: Path, workers: Workers) -> None:
    line, data, note = DOUBTFUL[what]
    said = list[str]()
    asked = {**given(tmp_path, epochs=1), "train": str(tmp_path / "few.npz")}
    with np.load(tmp_path / "train.npz") as file:
        count = int(data.get("count", 40))
        np.savez(tmp_path / "few.npz", x=file["x"][:count], y=data.get("y", file["y"][:count]))
    if line:
        (tmp_path / "loop.py").write_text(f"def fit(model, data, *, epochs, seed, report):\n    {line}\n")
        asked["fit"] = f"{tmp_path}/loop.py:fit"
    made = api.compress(
        f"{tmp_path}/{SOURCES['torch']}", "tflite-int8-dynamic", store=Store(tmp_path / "home"), workers=workers,
        progress=lambda event, text: said.append(text) if event == "note" else None, **asked,
    )  # fmt: skip
    assert any(one.startswith(note) for one in made["notes"]), made["notes"]
    assert any(note.removeprefix("qat: ") in one for one in said), "and while it is trained"


FROZEN = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import sys
import numpy as np, torch
from edgekit.compress import qat
from edgekit.frameworks import trainable
from edgekit.compress.channels import choice, walk
from edgekit.compress.fakequant import grid_of
from edgekit.compress.prune import patterns, zeros
from edgekit.compress.training import losses
from edgekit.errors import EdgekitError
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources
from edgekit.zoo import Training

x, y = torch.randn(128, 12), torch.randint(0, 3, (128,))
for framework, file in (("torch", "own.py"), ("keras", "own_keras.py")):
    source = sources.with_framework(sources.resolve(f"{sys.argv[1]}/{file}:build"), framework)
    model = (keras_models if framework == "keras" else torch_models).load(source)
    native = model.native
    dense, norm, last = (native[0], native[1], native[4]) if framework == "torch" else [
        layer for layer in native.layers if layer.weights]
    def freeze(layer):
        if framework == "torch":
            layer.requires_grad_(False)
        else:
            layer.trainable = False
    def values(layer):
        held = layer.state_dict().values() if framework == "torch" else [v.value for v in layer.weights]
        return [np.array(t.detach()) for t in held]
    freeze(dense), freeze(norm)
    assert len(trainable.frozen(model)) == 4, list(trainable.frozen(model))
    layers, left, _ = zeros.find(model, patterns.parse("0.5"))
    assert len(layers) == 1 and "it is frozen" in left[0], (layers, left)
    try:
        choice.choose(walk.follow(model), 0.5, frozen=[t.data_ptr() for t in trainable.frozen(model).values()])
        raise AssertionError("channels of a frozen layer were taken out")
    except EdgekitError as error:
        assert "frozen" in str(error)
    grids, _ = qat.find_layers(model, lambda names, *layer: grid_of(SCHEMES["int8-dynamic"], (), *layer))
    rounded = next(one.rounded() for one in grids if "1" not in one.name and one.own.shape != last.weight.shape) \
        if framework == "torch" else grids[0].rounded()
    before = values(norm), values(last)
    scores = iter((0.5, 0.4, 0.6, 0.6))
    found = qat.train(
        model, grids, [], losses.loss_for(model, [x[:8]], y), [x], y, Training(epochs=3, batch=32),
        lambda: next(scores),
        higher=True,
    )
    assert found.moved and found.kept == 3, "of equals the later"
    assert (values(dense)[0] == rounded).all(), "what the file will hold is on the grid, and not trained"
    assert all((a == b).all() for a, b in zip(values(norm), before[0])), "statistics stay, too"
    assert not (values(last)[0] == before[1][0]).all()
    before = values(last)
    equal = qat.train(
        model, grids, [], losses.loss_for(model, [x[:8]], y), [x], y, Training(epochs=2, batch=32), lambda: 0.5,
        higher=True,
    )
    assert equal.moved and equal.kept == 0 and (values(last)[0] == before[0]).all(), "none was better than epoch 0"
    freeze(last)
    try:
        qat.train(model, grids, [], None, [x], y, Training(epochs=1), lambda: 0.0, higher=True)
        raise AssertionError("nothing is left to train")
    except EdgekitError as error:
        assert "all are frozen" in str(error)
"""


def test_what_a_model_freezes_stays(tmp_path: Path, printed: Any) -> None:
    given(tmp_path)
    printed(FROZEN, tmp_path)


def test_what_stays_frozen_is_named(tmp_path: Path, workers: Workers) -> None:
    asked = given(tmp_path, epochs=1)
    (tmp_path / "own.py").write_text(
        MODELS.replace("    model.example", "    model[0].requires_grad_(False)\n    model.example")
    )
    (tmp_path / "own.toml").write_text(
        'schema = 1\ntitle = "x"\n[[step]]\nkind = "prune"\npattern = "0.5"\nepochs = 1\n'
    )
    made = api.compress(
        f"{tmp_path}/{SOURCES['torch']}", "tflite-fp32", store=Store(tmp_path / "home"), workers=workers, **asked
    )
    assert "prune: frozen by the model, so as they were: 0" in made["notes"]
    [step] = made["recipe"]["steps"]
    assert [layer["name"] for layer in step["pruning"]["layers"]] == ["4.weight"]
    assert step["pruning"]["left"] == ["0.weight: it is frozen"]


ENDS = {
    "nan": ("report(epoch=3, loss=float('inf'))", None),
    "killed": ("os.kill(os.getpid(), 9)", (FailedError, "signal SIGKILL")),
    "full disk": ("resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))", (UsageError, "File too large")),
    "raises": ("raise ValueError('mine')", (UsageError, "raised ValueError: mine")),
}


@pytest.fixture
def own() -> Iterator[Workers]:
    """Children for loops that leave their process unfit for others."""
    with Workers() as made:
        yield made


@pytest.mark.parametrize("how", ENDS)
def test_however_a_loop_ends_its_best_epoch_is_kept(how: str, tmp_path: Path, own: Workers) -> None:
    """Whatever comes in the third epoch, the second, which is the better one, is not lost."""
    line, error = ENDS[how]
    behind = "        report(epoch=epoch, loss=np.mean(losses))\n"
    assert behind in FIT
    (tmp_path / "loop.py").write_text(
        "import os, resource\n" + FIT.replace(behind, f"        if epoch == 3:\n            {line}\n{behind}")
    )
    asked: Callable[[], dict[str, Any]] = lambda: compressed(own, tmp_path, fit=f"{tmp_path}/loop.py:fit")  # noqa: E731
    if error is None:
        made = asked()
        [step] = made["recipe"]["steps"]
        assert "inf in epoch 3" in step["stopped"] and len(step["curve"]) == 3
        return
    kind, said = error
    with pytest.raises(kind, match=said) as caught:
        asked()
    assert "Of 5 epochs 2 were complete" in caught.value.hint and "begins anew" in caught.value.hint
    if how == "full disk":  # as full as before for what would be written beside
        assert "The best epoch so far could not be written: a file could not be written" in caught.value.hint
        assert len(list((tmp_path / "home" / "unfinished").glob("*/2/files/*.safetensors"))) == 1
        return
    facts = json.loads((tmp_path / "out.unfinished" / "recipe.json").read_text())
    [step] = facts["recipe"]["steps"]
    assert len(step["curve"]) == 3
    assert step["curve"][step["kept"]]["value"] > step["curve"][0]["value"] + 0.2


@pytest.mark.nightly  # a third of a minute
def test_a_file_of_others_and_a_loop_with_a_module_beside_it(tmp_path: Path, workers: Workers) -> None:
    """The child that loads the file is confined; the loop that runs in it reads what lies beside it."""
    make = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport own_keras; own_keras.build().save(sys.argv[1])"
    given(tmp_path)
    subprocess.run([sys.executable, "-c", make, tmp_path / "model.keras"], check=True, cwd=tmp_path)
    (tmp_path / "beside.py").write_text(KERAS_FIT)
    (tmp_path / "loop.py").write_text("from beside import fit\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SOURCES, "keras", "model.keras")
        made = compressed(workers, tmp_path, "keras", fit=f"{tmp_path}/loop.py:fit")
    found, kept = curve(made)
    assert found[kept]["value"] > found[0]["value"] + 0.2


@pytest.mark.parametrize(
    ("asked", "said", "hint"),
    [
        ({"fit": "loop.py:fti"}, "has no function 'fti'", "loop.py:fit"),
        ({"fit": "nowhere.py:fit"}, "is no function of a Python file", "file.py:function"),
        ({"fit": "loop.py:fit", "recipe": None}, "nothing is trained", "--qat"),
    ],
)
def test_a_loop_that_cannot_be_called_is_said_before_any_work(
    asked: dict[str, Any], said: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / "loop.py").write_text(FIT)
    asked = {**asked, "fit": f"{tmp_path}/{asked['fit']}"}
    wanted = {**given(tmp_path), **asked}
    del wanted["output"]
    with pytest.raises(UsageError, match=said) as caught:
        api.convert(f"{tmp_path}/{SOURCES['torch']}", "tflite-int8-dynamic", latency=False, **wanted)
    assert hint in caught.value.hint


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path: Path, workers: Workers) -> None:
    place = tmp_path / "out.unfinished"
    place.mkdir()
    (place / "mine").write_text("mine")
    with pytest.raises(UsageError, match=r"out\.unfinished is there already"):
        compressed(workers, tmp_path)
    assert (place / "mine").read_text() == "mine"


YOLO = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import json
import numpy as np, torch
from edgekit.data import tasks
from edgekit.frameworks import keras as keras_models, torch as torch_models
from edgekit.sources import source as sources
from edgekit.steps.recipe import fit

samples = tasks.load("scenes", "train", 8)
found = {}
for framework in ("torch", "keras"):
    source = sources.with_framework(sources.resolve("yolo"), framework)
    model = (keras_models if framework == "keras" else torch_models).load(source)
    [spec] = model.signature.inputs
    image = samples.inputs["image"] if framework == "keras" else np.moveaxis(samples.inputs["image"], -1, 1)
    outputs = model.run({spec.name: np.ascontiguousarray(image)})
    tensors = [torch.from_numpy(outputs[name]) for name in outputs]
    found[framework] = float(fit._own_loss(source, model)(tensors, torch.from_numpy(samples.labels)))
print(json.dumps(found))
"""


def test_the_loss_of_yolo_is_the_same_in_both_frameworks(printed: Any) -> None:
    found = json.loads(printed(YOLO).splitlines()[-1])
    assert 0 < found["torch"] < 20
    assert found["keras"] == pytest.approx(found["torch"], rel=1e-4)
