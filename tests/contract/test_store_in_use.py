"""The store beside running conversions: nothing that they use goes, and nothing that lies in it is executed."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest

import edgekit
from edgekit.errors import EdgekitError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers


@pytest.mark.nightly
def test_runs_go_on_while_the_cache_is_cleared_again_and_again(tmp_path):
    """Three conversions at once, cleared some hundred times meanwhile."""
    environment = {**os.environ, "EDGEKIT_HOME": str(tmp_path / "home")}
    targets = ("onnxruntime-fp32", "onnxruntime-int8", "onnxruntime-int8-dynamic")
    command = [sys.executable, "-m", "edgekit", "convert", "mlp@torch", "--json"]
    runs = [
        subprocess.Popen(
            [*command, "--target", target, "-o", str(tmp_path / target)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for target in targets
    ]
    done, cleared, store = threading.Event(), [], Store(tmp_path / "home")

    def clear():
        while not done.wait(0.05):
            cleared.append(store.clear())

    clearing = threading.Thread(target=clear)
    clearing.start()
    answers = [(run.communicate(), run.returncode) for run in runs]
    done.set()
    clearing.join()
    assert [code for _, code in answers] == [0, 0, 0], answers
    assert len(cleared) > 100
    assert max(found.in_use for found in cleared) > 5
    assert list((tmp_path / "home" / "runs").iterdir()) == []


KERAS = """
import keras
def model():
    return keras.Sequential([keras.layers.Input((4,), name="x"), keras.layers.Dense(3)])
"""
TORCH = """
import torch
def model():
    return torch.nn.Linear(4, 3)
"""
EVIL = "import pathlib\npathlib.Path({marker!r}).write_text('ran')\ndef model(): ...\n"


def _convert(source, store, output):
    inputs = ["input=1x4"] if "torch" in source.read_text() else []
    with Workers() as workers:
        return edgekit.convert(
            f"{source}:model",
            "onnxruntime-fp32",
            inputs=inputs,
            trust=True,
            output=output,
            workers=workers,
            store=store,
        )


@pytest.fixture(scope="module", params=[KERAS, TORCH], ids=["keras", "torch"])
def converted(request, tmp_path_factory):
    """A function's model with random weights, which its checkpoint keeps: without it no two children have the same."""
    folder = tmp_path_factory.mktemp("converted")
    (folder / "mine.py").write_text(request.param)
    result = _convert(folder / "mine.py", Store(folder / "home"), folder / "out")
    assert result.status == "PASS", result.reason
    return folder


def _describe_entry(store):
    documents = {key: json.loads((store.root / key / "entry.json").read_text()) for key in store.keys()}  # noqa: SIM118
    [key] = [key for key, document in documents.items() if document["material"]["step"] == "edgekit.steps.describe:run"]
    return store.root / key, documents[key]


@pytest.mark.parametrize("how", ["python source", "python source as 0.1.0 kept it", "outside", "another kind"])
def test_a_checkpoint_edited_into_a_python_file_is_not_executed(converted, tmp_path, how):
    """Edited by somebody who knows how entries are sealed, and a source that is trusted."""
    marker, evil = tmp_path / "ran", tmp_path / "evil.py"
    evil.write_text(EVIL.format(marker=str(marker)))
    shutil.copytree(converted / "home", tmp_path / "home")
    store = Store(tmp_path / "home")
    folder, document = _describe_entry(store)
    old = {
        "given": "x", "kind": "python", "framework": "torch", "name": "x", "sha256": "0" * 64, "path": str(evil),
        "function": "model", "config": None, "inputs": [], "trust": True, "keras_version": "", "weights": None,
        "part": "main",
    }  # fmt: skip
    document["value"]["value"]["checkpoint"] = {
        "python source": {"file": "evil.py", "kind": "python", "function": "model", "trust": True},
        "python source as 0.1.0 kept it": old,
        "outside": {"file": str(evil), "trust": True},
        "another kind": "evil.py:model",
    }[how]
    (folder / "files" / "evil.py").write_text(evil.read_text())
    document["files"]["evil.py"] = {
        "sha256": hashlib.sha256(evil.read_bytes()).hexdigest(), "bytes": evil.stat().st_size,
    }  # fmt: skip
    (folder / "entry.json").write_text(json.dumps(document))
    digest = hashlib.sha256((folder / "entry.json").read_bytes()).hexdigest()
    (folder / "entry.sha256").write_text(f"{digest}  entry.json\n")
    assert store.verify() == []
    with pytest.raises(EdgekitError, match=r"is no checkpoint|holds no answer"):
        _convert(converted / "mine.py", store, tmp_path / "out")
    assert not marker.exists()


def test_parity_edited_to_999_db_is_measured_again(converted, tmp_path):
    shutil.copytree(converted / "home", tmp_path / "home")
    store = Store(tmp_path / "home")
    for key in store.keys():  # noqa: SIM118
        file = store.root / key / "entry.json"
        text = re.sub(r'"sqnr_db": [0-9.]+', '"sqnr_db": 999.0', file.read_text())
        file.write_text(text)
    assert store.verify() != []
    result = _convert(converted / "mine.py", store, tmp_path / "out")
    assert result.status == "PASS"
    assert 60 < result.parity.sqnr_db <= 300
    assert store.verify() == []
