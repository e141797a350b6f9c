"""``edgekit.assert_parity`` and the pytest plug-in, as a user's own tests call them, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODELS = """
import numpy as np

rng = np.random.default_rng(0)
centres = rng.normal(size=(4, 8)).astype("float32")


def drawn(count):
    y = rng.integers(0, 4, count)
    return (centres[y] + 0.3 * rng.normal(size=(count, 8))).astype("float32"), y


def torch_model():
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(8, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(2 * centres))
        model[0].bias.copy_(torch.from_numpy(-(centres**2).sum(1)))
    return model


def keras_model():
    import keras

    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model.layers[0].set_weights([2 * centres.T, -(centres**2).sum(1)])
    return model
"""


def pytest_of(folder: Path, tests: str, *arguments: str) -> tuple[int, str]:
    """Run tests of a user's; the exit code and what was printed."""
    (folder / "models.py").write_text(MODELS)
    (folder / "test_mine.py").write_text(tests)
    variables = {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "KERAS_BACKEND": "tensorflow",
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "edgekit.ci.plugin", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=1200)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("framework", "target"), [("torch", "onnxruntime-int8"), ("keras", "tflite-int8")], ids=["torch", "keras"]
)
def test_a_live_model_passes_and_its_row_is_kept(framework: str, target: str, tmp_path: Path) -> None:
    tests = f"""
import models

def test_parity(edgekit_parity):
    model = models.{framework}_model()
    result = edgekit_parity(
        model, "{target}", calibrate=models.drawn(256)[0], evaluate=models.drawn(1200)
    )
    assert result.status == "PASS" and result.accuracy.samples == 840
    from pathlib import Path
    assert (Path(result.artifact) / "manifest.json").is_file()
"""
    code, said = pytest_of(tmp_path, tests, "--edgekit-report", "rows.jsonl")
    assert code == 0, said
    assert f"{target} cpu\tPASS" in said
    assert "1 rows added to rows.jsonl" in said
    [row] = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert row["cell"]["target"] == target
    assert row["accuracy"]["samples"] == 840


def test_a_model_that_loses_accuracy_fails_with_the_evidence(tmp_path: Path) -> None:
    """Wide numbers beside narrow ones: one scale for all of them leaves nothing of the narrow ones."""
    tests = """
import edgekit, models, numpy as np, torch

def test_parity():
    model = torch.nn.Linear(10, 4)
    with torch.no_grad():
        model.weight.copy_(torch.nn.functional.pad(models.torch_model()[0].weight, (0, 2)))
        model.bias.copy_(models.torch_model()[0].bias)

    def wide(count):
        x, y = models.drawn(count)
        return np.concatenate([x, 3000 * np.random.default_rng(1).normal(size=(count, 2)).astype("float32")], 1), y

    edgekit.assert_parity(model, "onnxruntime-int8", calibrate=wide(256)[0], evaluate=wide(1200))
"""
    code, said = pytest_of(tmp_path, tests)
    assert code == 1, said
    assert "AssertionError: Linear for onnxruntime-int8 is FAIL_" in said
    assert "torch.__trace" not in said
    for word in ("accuracy", "route", "parity", "what would help"):
        assert word in said


def test_without_labels_nothing_passes_that_was_to_be_evaluated(tmp_path: Path) -> None:
    tests = """
import edgekit, models

def test_parity():
    x = models.drawn(300)[0]
    edgekit.assert_parity(models.torch_model(), "onnxruntime-int8", calibrate=models.drawn(256)[0], evaluate=x)
"""
    code, said = pytest_of(tmp_path, tests)
    assert code == 1
    assert "accuracy was not measured: there are no labels" in said


def test_labels_that_do_not_belong_to_the_inputs_prove_nothing(tmp_path: Path) -> None:
    tests = """
import edgekit, models

def test_parity():
    x, y = models.drawn(1200)
    calibrate = models.drawn(256)[0]
    edgekit.assert_parity(models.torch_model(), "onnxruntime-int8", calibrate=calibrate, evaluate=(x, (y + 1) % 4))
"""
    code, said = pytest_of(tmp_path, tests)
    assert code == 1
    assert "no better than a trivial answer" in said
