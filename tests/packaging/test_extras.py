"""Each extra in an environment of its own, on every Python that is promised: what it brings, what it does alone."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARTIFACTS = ROOT / "tests" / "contract" / "artifacts" / "0.1.0"
KERAS = """
import keras

def build():
    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 1), name="x")
    y = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(x))
    return keras.Model(x, keras.layers.Dense(3)(y))
"""
TORCH = """
import torch

def build():
    return torch.nn.Linear(4, 2)
"""
SAMPLES = "import numpy as np; np.savez('x.npz', x=np.random.default_rng(0).normal(size=(80, 8, 8, 1)).astype('f4'))"


def python_of(version):
    """An interpreter of a version, where this machine has one: on the path, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    named = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    for python in filter(None, named):
        done = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True)
        if done.stdout.decode().strip() == version:  # a shim of pyenv may stand for nothing
            return str(python)
    return pytest.skip(f"no Python {version} on this machine")


class Environment:
    """A virtual environment with edgekit and one extra in it."""

    def __init__(self, folder, wheel, version, extra):
        self.folder, self.bin = folder, folder / "venv" / "bin"
        subprocess.run([python_of(version), "-m", "venv", str(folder / "venv")], check=True)
        wanted = f"edgekit[{extra}] @ file://{wheel}" if extra else f"edgekit @ file://{wheel}"
        pip = [self.bin / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), wanted], check=True)

    def python(self, *arguments):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = {**kept, "EDGEKIT_HOME": str(self.folder / "home")}
        return subprocess.run(
            [self.bin / "python", *arguments], cwd=self.folder, env=environment, capture_output=True, text=True
        )

    def edgekit(self, *arguments):
        done = self.python("-m", "edgekit", *arguments, "--json")
        return done.returncode, json.loads(done.stdout)

    def has(self, *names):
        code = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
        return set(names) & set(json.loads(self.python("-c", code).stdout))


@pytest.fixture
def environment(tmp_path, wheel):
    yield lambda version, extra: Environment(tmp_path, wheel, version, extra)
    shutil.rmtree(tmp_path / "venv", ignore_errors=True)


@pytest.mark.nightly  # the wheel is installed in every run, into this Python
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_core_alone(environment, version):
    alone = environment(version, "")
    assert not alone.has("torch", "tensorflow", "onnxruntime", "ai-edge-litert")
    exit_code, listed = alone.edgekit("list", "targets")
    assert exit_code == 0
    assert len(listed["targets"]) >= 12
    exit_code, found = alone.edgekit("doctor")
    assert exit_code == 0
    assert {row["extra"] for row in found["toolchains"] if not row["works"]} >= {"keras", "torch", "litert", "onnx"}
    exit_code, refused = alone.edgekit("convert", "mlp@torch", "--target", "onnxruntime-fp32")
    assert exit_code == 7, refused
    assert "pip install 'edgekit[" in refused["error"]["hint"]


@pytest.mark.nightly
@pytest.mark.parametrize("version", ["3.12", "3.13"])
@pytest.mark.parametrize(("extra", "name"), [("onnx", "onnxruntime-int8"), ("litert", "tflite-fp16")])
def test_a_runtime_runs_an_artifact_again(environment, version, extra, name):
    made = environment(version, extra)
    assert not made.has("torch", "tensorflow")
    exit_code, found = made.edgekit("verify", str(ARTIFACTS / name))
    assert (exit_code, found["status"], found["reason"]) == (0, "PASS", "")
    assert found["replay"]["parity"]["sqnr_db"] > 60
    exit_code, found = made.edgekit("inspect", str(ARTIFACTS / name))
    assert (exit_code, found["ops_total"]) == (0, 4)


@pytest.mark.nightly
@pytest.mark.parametrize("version", ["3.11"])
def test_keras_models_go_to_litert_without_torch(environment, version):
    made = environment(version, "litert,keras")
    assert not made.has("torch", "jax", "litert-torch", "transformers")
    (made.folder / "mine.py").write_text(KERAS)
    (made.folder / "torch_model.py").write_text(TORCH)
    assert made.python("-c", SAMPLES).returncode == 0
    arguments = ("convert", "mine.py:build", "--target", "tflite-int8", "--calibrate", "x.npz")
    exit_code, result = made.edgekit(*arguments)
    assert (exit_code, result["status"]) == (0, "PASS"), result["reason"]
    exit_code, refused = made.edgekit("convert", "torch_model.py:build", "--target", "tflite-fp32", "--input", "x=1x4")
    assert exit_code == 7, refused
    assert "pip install 'edgekit[litert-torch]'" in refused["error"]["hint"]
