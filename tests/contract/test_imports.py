"""What a step imports in its child is in its key: every conversion here is watched, import by import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

sys.path.insert(0, str(Path(__file__).parent))
from watching import Watching, watching


@pytest.fixture(scope="module")
def workers() -> Iterator[Watching]:
    with watching() as made:
        yield made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("home"))


#: Every toolchain, from both frameworks, and a task with code of its own; that of a stream is watched beside its tests.
CONVERSIONS = [
    ("mlp@keras", "tflite-int8"),
    ("mlp@torch", "tflite-int8"),
    ("mlp@torch", "onnxruntime-int8"),
    ("mlp@keras", "onnxruntime-int8-dynamic"),
    ("mlp@torch", "openvino-int8"),
    ("mlp@keras", "openvino-fp16"),
    pytest.param("mlp@torch", "executorch-int8", marks=pytest.mark.nightly),
    pytest.param("mlp@keras", "executorch-fp32", marks=pytest.mark.nightly),
    ("mlp@torch", "coreml-int8"),
    pytest.param("mlp@keras", "coreml-fp16", marks=pytest.mark.nightly),
    ("mlp@torch", "tensorrt-int8"),
    pytest.param("yolo@torch", "onnxruntime-fp32", marks=pytest.mark.nightly),
]


@pytest.mark.parametrize(("source", "target"), CONVERSIONS)
def test_every_module_that_a_step_imports_is_in_its_key(
    workers: Watching, store: Store, tmp_path: Path, source: str, target: str
) -> None:
    result = edgekit.convert(source, target, output=tmp_path / "out", workers=workers, store=store)
    assert result.status == "PASS", result.reason
    assert workers.unfollowed == {}


def test_with_the_users_own_model_and_data(workers: Watching, store: Store, tmp_path: Path) -> None:
    model = tmp_path / "mine.py"
    model.write_text(
        "import torch\n\n\ndef net():\n    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())\n"
    )
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", input=rng.normal(size=(64, 4)).astype(np.float32))
    result = edgekit.convert(
        f"{model}:net", "onnxruntime-int8", inputs=["input=1x4"], calibrate=str(tmp_path / "data.npz"),
        output=tmp_path / "out", workers=workers, store=store,
    )  # fmt: skip
    assert result.status == "PASS", result.reason
    assert workers.unfollowed == {}


def test_an_import_that_is_hidden_from_the_key_is_seen(workers: Watching) -> None:
    """The watch itself: it sees a module that was imported before, and by a name that is put together."""
    for _ in range(2):
        arguments = {"watched_step": "imported:unseen", "folder": ""}
        found = Workers.call(workers, "runtime", "imported:run", arguments).value["imported"]
        assert "edgekit.zoo.lenet5.spec" in found


def test_every_kept_step_was_watched(workers: Watching) -> None:
    kept = "describe samples reference convert:routes convert audit execute score latency golden"
    assert workers.steps >= set(kept.split())
