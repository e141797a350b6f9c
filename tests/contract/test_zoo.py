"""Every architecture of the zoo: published counts, one set of weights in both frameworks, trained well enough."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgekit import zoo
from edgekit.data import tasks
from edgekit.errors import DamagedFileError, UsageError
from edgekit.proof import metrics
from edgekit.signature import WHOLE, TensorSpec
from edgekit.steps.train import card
from edgekit.zoo import Config, weights
from tests.contract.conftest import of_this_run, parameters

CHILD = Path(__file__).with_name("zoo_child.py")
CONFIGS = [(name, config) for name in zoo.names() for config in zoo.architecture(name).configs]
SAMPLES = 16
TOLERANCE = 1e-4
#: Keras on PyTorch calls what Keras on TensorFlow shows in every run: the zoo is written in `keras.ops` alone.
BACKENDS = ["tensorflow", pytest.param("torch", marks=pytest.mark.nightly)]


def tiny(name: str) -> Config:
    return zoo.architecture(name).configs["tiny"]


def load(name: str, split: tasks.Split, count: int | None = None) -> tasks.Samples:
    task = tiny(name).task
    assert task is not None
    return tasks.load(task, split, count)


@cache
def torch_model(name: str) -> torch.nn.Module:
    model: torch.nn.Module = importlib.import_module(f"edgekit.zoo.{name}.pytorch").build(**tiny(name).settings)
    path = zoo.weights_path(name, "tiny")
    assert path is not None, f"{name} ships no tiny.safetensors"
    weights.load_torch(model, weights.read(path))
    return model.eval()


def run_torch(name: str, samples: tasks.Samples) -> dict[str, np.ndarray]:
    """Outputs by name, channels last."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(next(iter(samples.inputs.values()))), 250):
            inputs = []
            for spec in tiny(name).inputs:
                x = torch.from_numpy(np.asarray(samples.inputs[spec.name][start : start + 250]))
                inputs.append(x.movedim(-1, 1) if spec.layout == "channels_last" else x)
            found = torch_model(name)(*inputs)
            found = found if isinstance(found, tuple) else (found,)
            parts.append([_channels_last(s, t) for s, t in zip(tiny(name).outputs, found, strict=True)])
    return {spec.name: np.concatenate([p[i] for p in parts]) for i, spec in enumerate(tiny(name).outputs)}


def _channels_last(spec: TensorSpec, tensor: torch.Tensor) -> np.ndarray:
    return (tensor.movedim(1, -1) if spec.layout == "channels_last" else tensor).numpy()


@dataclass(frozen=True)
class Children:
    """What the Keras children left behind."""

    keras: dict[str, dict[str, np.ndarray]]
    facts: dict[str, dict[str, dict[str, dict[str, object]]]]
    reload: dict[str, np.ndarray]
    counts: dict[str, int]


def start(command: str, folder: Path, backend: str, *, stranger: bool = False) -> subprocess.Popen[str]:
    root = str(Path(zoo.__file__).parents[2])
    env = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = "" if stranger else root
    return subprocess.Popen(
        [sys.executable, str(CHILD), command, str(folder)],
        env=env, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(*children: subprocess.Popen[str]) -> None:
    for child in children:
        log, _ = child.communicate(timeout=900)  # as many models as the zoo has
        assert child.returncode == 0, log[-4000:]


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Children:
    backends = {"tensorflow", *(asked["backend"] for asked in of_this_run(request, __file__) if "backend" in asked)}
    folder = tmp_path_factory.mktemp("zoo")
    inputs = {}
    for name in zoo.names():
        given = load(name, "selection", SAMPLES).inputs
        inputs |= {f"{name}/{i}": given[spec.name] for i, spec in enumerate(tiny(name).inputs)}
    np.savez(folder / "inputs.npz", **inputs)
    finish(start("counts", folder, "torch"), *(start("outputs", folder, backend) for backend in backends))
    finish(start("reload", folder, "tensorflow", stranger=True))
    return Children(
        keras={b: dict(np.load(folder / f"keras-{b}.npz")) for b in backends},
        facts={b: json.loads((folder / f"keras-{b}.json").read_text()) for b in backends},
        reload=dict(np.load(folder / "reload.npz")),
        counts=json.loads((folder / "counts.json").read_text()),
    )


@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_parameters_in_torch(name: str, config: str) -> None:
    facts = zoo.architecture(name).configs[config]
    with torch.device("meta"):
        module = importlib.import_module(f"edgekit.zoo.{name}.pytorch").build(**facts.settings)
    assert weights.count_parameters(weights.canonical(module)) == facts.parameters


@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_parameters_in_keras(name: str, config: str, children: Children) -> None:
    assert children.counts[f"{name}-{config}"] == zoo.architecture(name).configs[config].parameters


@pytest.mark.parametrize("name", zoo.names())
def test_shipped_weights(name: str) -> None:
    path = zoo.weights_path(name, "tiny")
    assert path is not None
    assert path.stat().st_size < 1_000_000
    tensors = weights.read(path)
    assert weights.count_parameters(tensors) == tiny(name).parameters
    assert all(t.dtype == np.float32 and np.isfinite(t).all() for t in tensors.values())
    again = weights.from_torch(torch_model(name))
    assert again.keys() == tensors.keys()
    assert all(np.array_equal(again[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", zoo.names())
def test_both_frameworks_agree(name: str, backend: str, children: Children) -> None:
    expected = run_torch(name, load(name, "selection", SAMPLES))
    for i, spec in enumerate(tiny(name).outputs):
        wanted = expected[spec.name]
        assert wanted.shape == (SAMPLES, *spec.shape[1:])
        assert np.ptp(wanted, axis=0).max() > 100 * TOLERANCE, "constant outputs would agree whatever the layers do"
        np.testing.assert_allclose(children.keras[backend][f"{name}/{i}"], wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", zoo.names())
def test_keras_signature_and_weights(name: str, backend: str, children: Children) -> None:
    assert list(children.facts[backend][name]) == list(tiny(name).parts or (WHOLE,))
    for part, facts in children.facts[backend][name].items():
        wanted = tiny(name).signature("keras", part)
        assert facts["name"] == (name if part == WHOLE else part)
        assert facts["inputs"] == {t.name: [None, *t.shape[1:]] for t in wanted.inputs}
        outputs = facts["outputs"]
        assert isinstance(outputs, dict)
        assert list(outputs.values()) == [[None, *t.shape[1:]] for t in wanted.outputs]
        if zoo.architecture(name).kind in ("dense", "convolutional") and part == WHOLE:
            # Text models are named by the loader, from the spec: their last layer is not always one of their own. That
            # of a part bears the part's name before its own.
            assert list(outputs) == [t.name for t in wanted.outputs]
        assert facts["same"], "weights do not survive the way into Keras and back"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", zoo.names())
def test_saved_keras_file_needs_no_edgekit(name: str, backend: str, children: Children) -> None:
    for part in tiny(name).parts or (WHOLE,):
        key = name if part == WHOLE else f"{name}.{part}"
        for i in range(len(tiny(name).signature("keras", part).outputs)):
            reloaded, built = children.reload[f"{key}-{backend}/{i}"], children.keras[backend][f"{key}/{i}"]
            np.testing.assert_allclose(reloaded, built, rtol=0, atol=TOLERANCE)


#: Whose floats take longest to score; CI's cells of the matrix score some of each architecture, by the same metric.
LATE = ("style_transfer", "mamba", "faster_rcnn", "denoiser_rnn")


@pytest.mark.parametrize("name", parameters(zoo.names(), LATE.__contains__))
def test_float_quality(name: str) -> None:
    """The floor of its spec is reached, and what does not look at the sample is beaten; textures show damage."""
    samples = load(name, "test")
    assert samples.labels is not None
    labels = samples.labels
    task = tasks.task(tiny(name).task or "")
    assert len(labels) == task.sizes["test"]
    assert len(labels) >= 1000 or (tiny(name).task or "").startswith("digits")
    metric = metrics.metric(task.metric)
    outputs = tasks.postprocess(tiny(name).task, run_torch(name, samples))
    scored = metric.read(outputs, labels)
    value = float(metric.value(metric.contributions(labels, scored)))
    guess = float(metric.value(metric.trivial(labels, scored.shape, lambda: samples.inputs)))
    floor = tiny(name).floor
    assert floor is not None
    sign = 1 if metric.higher_is_better else -1
    assert sign * value >= sign * floor > sign * guess, f"{value:.4f}, floor {floor}, trivial {guess:.4f}"
    if (tiny(name).task or "").startswith("texture"):
        assert value <= 0.97, "so good that damage would not show"


TRAINED = [(name, config) for name, config in CONFIGS if zoo.architecture(name).configs[config].training is not None]


@pytest.mark.parametrize(("name", "config"), TRAINED)
def test_card_of_a_checkpoint(name: str, config: str) -> None:
    """How it was made and what it reaches, as training wrote it down."""
    path = zoo.weights_path(name, config)
    assert path is not None
    found = json.loads(path.with_suffix(".json").read_text())
    assert found == card(name, config, found["seed"], found["selection"], found["samples"])
    floor = zoo.architecture(name).configs[config].floor
    sign = 1 if metrics.metric(found["metric"]).higher_is_better else -1
    assert floor is not None
    assert sign * found["selection"] >= sign * floor


def test_facts_need_no_framework() -> None:
    code = (
        "import sys; from edgekit import zoo; [zoo.architecture(n) for n in zoo.names()]; "
        "print(sorted({'numpy', 'torch', 'keras', 'tensorflow'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(zoo.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model = torch_model("lenet5")
    tensors = weights.from_torch(model)
    with pytest.raises(UsageError, match=r"missing: c3\.bias"):
        weights.load_torch(model, {name: t for name, t in tensors.items() if name != "c3.bias"})
    with pytest.raises(UsageError, match=r"unknown: c4\.weight"):
        weights.load_torch(model, {**tensors, "c4.weight": tensors["c3.weight"]})
    with pytest.raises(UsageError, match=r"'c5\.weight' has shape \(1, 1\)"):
        weights.load_torch(model, {**tensors, "c5.weight": np.zeros((1, 1), np.float32)})
    with pytest.raises(UsageError, match=r"'c5\.weight' is int8; the model needs floats"):
        weights.load_torch(model, {**tensors, "c5.weight": tensors["c5.weight"].astype(np.int8)})  # type: ignore[dict-item]
    whole = zoo.weights_path("lenet5", "tiny")
    assert whole is not None
    (tmp_path / "cut.safetensors").write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match=r"cut\.safetensors"):
        weights.read(tmp_path / "cut.safetensors")
    brief = {"weight": torch.zeros(2, 1, dtype=torch.bfloat16), "bias": torch.zeros(2, dtype=torch.bfloat16)}
    save_file(brief, tmp_path / "brief.safetensors")
    with pytest.raises((DamagedFileError, UsageError)) as refused:  # NumPy has bfloat16 where another package adds it
        weights.load_torch(torch.nn.Linear(1, 2), weights.read(tmp_path / "brief.safetensors"))
    assert "bfloat16" in str(refused.value) and "float32" in refused.value.hint


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3"])
def test_image_size_that_would_change_the_padding_is_refused(name: str) -> None:
    settings = {**tiny(name).settings, "image_size": 36}
    with pytest.raises(UsageError, match="multiple of 8"):
        importlib.import_module(f"edgekit.zoo.{name}.pytorch").build(**settings)
