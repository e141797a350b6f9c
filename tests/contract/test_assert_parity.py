"""``edgekit.assert_parity`` and the pytest plug-in, as a user's own tests call them, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
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


KERAS = """
from pathlib import Path
import models

def test_parity(edgekit_parity):
    result = edgekit_parity(
        models.keras_model(), "tflite-int8", calibrate=models.drawn(256)[0], evaluate=models.drawn(1200)
    )
    assert result.status == "PASS" and result.accuracy.samples == 840
    assert (Path(result.artifact) / "manifest.json").is_file()
"""
#: In one run, so that the children that the plug-in starts serve all of them.
TORCH = """
from pathlib import Path
import edgekit, models, numpy as np, torch

def test_passes(edgekit_parity):
    model = models.torch_model()
    result = edgekit_parity(
        model, "onnxruntime-int8", calibrate=models.drawn(256)[0], evaluate=models.drawn(1200)
    )
    assert result.status == "PASS" and result.accuracy.samples == 840
    assert (Path(result.artifact) / "manifest.json").is_file()

def test_wide():
    model = torch.nn.Linear(10, 4)
    with torch.no_grad():
        model.weight.copy_(torch.nn.functional.pad(models.torch_model()[0].weight, (0, 2)))
        model.bias.copy_(models.torch_model()[0].bias)

    def wide(count):
        x, y = models.drawn(count)
        return np.concatenate([x, 3000 * np.random.default_rng(1).normal(size=(count, 2)).astype("float32")], 1), y

    edgekit.assert_parity(model, "onnxruntime-int8", calibrate=wide(256)[0], evaluate=wide(1200))

def test_unlabelled():
    x = models.drawn(300)[0]
    edgekit.assert_parity(models.torch_model(), "onnxruntime-int8", calibrate=models.drawn(256)[0], evaluate=x)

def test_wrong_labels():
    x, y = models.drawn(1200)
    calibrate = models.drawn(256)[0]
    edgekit.assert_parity(models.torch_model(), "onnxruntime-int8", calibrate=calibrate, evaluate=(x, (y + 1) % 4))
"""
FAILING = ("test_wide", "test_unlabelled", "test_wrong_labels")


def row_of(folder: Path, said: str, target: str) -> None:
    """One row that passes was kept, and printed."""
    assert f"{target} cpu\tPASS" in said
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    [row] = [row for row in rows if row["status"] == "PASS"]
    assert row["cell"]["target"] == target
    assert row["accuracy"]["samples"] == 840


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of those of PyTorch: its folder, and what was printed."""
    folder = tmp_path_factory.mktemp("torch")
    code, said = pytest_of(folder, TORCH, "--edgekit-report", "rows.jsonl", "-rf")
    assert code == 1, said
    assert "3 failed, 1 passed" in said, said
    assert all(f"FAILED test_mine.py::{name}" in said for name in FAILING), said
    return folder, said


def part(said: str, name: str) -> str:
    """What pytest prints of one failure."""
    found = re.search(rf"_+ {name} _+\n(.*?)\n(?:_{{3,}} \w|={{3,}})", said, re.DOTALL)
    assert found, said
    return found[1]


def test_a_live_model_passes_and_its_row_is_kept(ran: tuple[Path, str]) -> None:
    row_of(*ran, "onnxruntime-int8")


@pytest.mark.nightly  # models of both frameworks are handed in in test_api.py, in every run
def test_one_of_keras_does_so_too(tmp_path: Path) -> None:
    code, said = pytest_of(tmp_path, KERAS, "--edgekit-report", "rows.jsonl")
    assert code == 0, said
    assert "1 rows added to rows.jsonl" in said
    row_of(tmp_path, said, "tflite-int8")


def test_a_model_that_loses_accuracy_fails_with_the_evidence(ran: tuple[Path, str]) -> None:
    """Wide numbers beside narrow ones: one scale for all of them leaves nothing of the narrow ones."""
    said = part(ran[1], "test_wide")
    assert "AssertionError: Linear for onnxruntime-int8 is FAIL_" in said
    assert "torch.__trace" not in said
    for word in ("accuracy", "route", "parity", "what would help"):
        assert word in said


def test_without_labels_nothing_passes_that_was_to_be_evaluated(ran: tuple[Path, str]) -> None:
    assert "accuracy was not measured: there are no labels" in part(ran[1], "test_unlabelled")


def test_labels_that_do_not_belong_to_the_inputs_prove_nothing(ran: tuple[Path, str]) -> None:
    assert "no better than a trivial answer" in part(ran[1], "test_wrong_labels")
