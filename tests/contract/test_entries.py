"""Parts that share a file: opened, looked into, verified and named by what the format calls them.

The files are made by the vendors' own means (``children/two_entries.py``); answers are NumPy's.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import api, cli, toolchains
from edgekit.artifact import contents
from edgekit.artifact import folder as artifact
from edgekit.errors import UsageError
from edgekit.jobs.workers import Workers
from edgekit.schemes import FP32
from edgekit.steps import audit, golden
from tests.contract.conftest import inside

sys.path.insert(0, str(Path(__file__).parent / "children"))
from two_entries import A, B

FILES = {"litert": "model.tflite", "executorch": "model.pte", "coreml": "model.mlpackage"}
KINDS = {"litert": "signature", "executorch": "method", "coreml": "function"}
INPUTS, OUTPUTS = {"encode": ("x", 8), "decode": ("code", 4)}, {"encode": ("code", 4), "decode": ("y", 3)}


@pytest.fixture(scope="module", params=FILES)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, workers: Workers
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    environment = "keras-tensorflow" if request.param == "litert" else "torch"
    inside(workers, "two_entries.py", request.param, str(folder), environment=environment)
    return request.param, folder / FILES[request.param]


def answers(entry: str, rows: np.ndarray) -> np.ndarray:
    return np.tanh(rows @ A) if entry == "encode" else rows @ B


def recorded(path: Path, entry: str, *shape: int) -> None:
    """Golden data of an entry, by NumPy."""
    (given, width), (name, _) = INPUTS[entry], OUTPUTS[entry]
    rows = np.random.default_rng(0).normal(size=(*shape, width)).astype(np.float32)
    np.savez(path, **{f"in/{given}": rows, f"out/{name}": answers(entry, rows)})


def replayed(workers: Workers, toolchain: str, file: Path, folder: Path, entry: str | None, data: str) -> Any:
    recorded(folder / f"{data}.npz", data, 5)
    name, width = INPUTS[data]
    request = golden.ReplayRequest(
        toolchain,
        file,
        toolchains.Options(FP32),
        folder / f"{data}.npz",
        steps=False,
        state=(),
        shapes={name: (1, width)},
        entry=entry,
    )
    return workers.ask("runtime", golden.replay, folder, request).value


@pytest.mark.parametrize("entry", INPUTS)
def test_each_entry_is_opened_by_its_name(made: tuple[str, Path], entry: str, workers: Workers, tmp_path: Path) -> None:
    found = replayed(workers, *made, tmp_path, entry, entry)
    assert found.parity.sqnr_db > 100


def test_another_name_or_another_entry_s_inputs_are_refused(
    made: tuple[str, Path], workers: Workers, tmp_path: Path
) -> None:
    toolchain, file = made
    with pytest.raises(UsageError, match=f"{file.name} has no {KINDS[toolchain]} 'nothing'; it has '?decode'?, '?enc"):
        replayed(workers, toolchain, file, tmp_path, "nothing", "encode")
    with pytest.raises(UsageError, match="code"):
        replayed(workers, toolchain, file, tmp_path, "encode", "decode")
    if toolchain == "coreml":  # whose file itself names one
        assert replayed(workers, toolchain, file, tmp_path, None, "encode").parity.sqnr_db > 100
        return
    with pytest.raises(UsageError, match=f"has the {KINDS[toolchain]}s 'decode', 'encode'"):
        replayed(workers, toolchain, file, tmp_path, None, "encode")


@pytest.mark.parametrize("entry", INPUTS)
def test_the_audit_of_an_entry_is_of_what_it_runs(
    made: tuple[str, Path], entry: str, workers: Workers, tmp_path: Path
) -> None:
    toolchain, file = made
    found = workers.ask("runtime", audit.run, tmp_path, audit.Request(toolchain, file, entry)).value
    assert found.entries == ("decode", "encode")
    assert [(t.name, t.shape) for t in found.inputs] == [(INPUTS[entry][0], (1, INPUTS[entry][1]))]
    assert [(t.name, t.shape) for t in found.outputs] == [(OUTPUTS[entry][0], (1, OUTPUTS[entry][1]))]
    assert found.macs_total == {"encode": A.size, "decode": B.size}[entry]


def test_inspect_names_the_entries(made: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, file = made
    assert cli.run(["inspect", str(file), "--entry", "decode"]) == 0
    assert "decode, encode" in capsys.readouterr().out
    assert cli.run(["inspect", str(file), "--entry", "decode", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["entry"], document["entries"]) == ("decode", ["decode", "encode"])


def test_a_format_of_one_model_a_file_has_no_entries(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"model\.onnx has no entry 'encode'"):
        api.inspect(tmp_path / "model.onnx", entry="encode")


def sealed(folder: Path, toolchain: str) -> None:
    """The manifest of two parts that share a file."""
    parts = {
        f"the {entry}r": {
            "file": FILES[toolchain], "entry": entry, "inputs": [{"name": name, "shape": [1, width]}],
        }
        for entry, (name, width) in INPUTS.items()
    }  # fmt: skip
    document = {
        "status": "PASS", "proof": {"kind": "runtime", "by": "x"}, "target": "none", "toolchain": toolchain,
        "precision": "fp32", "framework": "torch", "source": {"name": "x"}, "gate": {}, "parts": parts,
        "files": [file.model_dump() for file in contents.sealed_files(folder)],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "manifest.sha256").write_text(contents.seal_of(folder))


def written(made: tuple[str, Path], scratch: Path) -> Path:
    """A folder with the file and golden data of both entries: of several parts, sequences of steps."""
    folder = scratch / "artifact"
    folder.mkdir()
    for path in made[1].parent.glob("model.*"):
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
    for entry in INPUTS:
        recorded(folder / f"golden.{entry}.npz", entry, 1, 6)
    return folder


def test_two_parts_of_one_file_verify_with_golden_data_of_their_own(
    made: tuple[str, Path], workers: Workers, tmp_path: Path
) -> None:
    toolchain, folder = made[0], written(made, tmp_path)
    sealed(folder, toolchain)
    found = artifact.verify(folder, workers)
    assert found["status"] == "PASS", found["reason"]
    assert list(api.inspect(folder)["parts"]) == ["the encoder", "the decoder"]
    (folder / "golden.encode.npz").unlink()
    sealed(folder, toolchain)
    assert artifact.verify(folder, workers)["damaged"] == ["golden.npz"]


def test_the_golden_data_of_one_part_say_nothing_of_the_other(
    made: tuple[str, Path], workers: Workers, tmp_path: Path
) -> None:
    toolchain, folder = made[0], written(made, tmp_path)
    with np.load(folder / "golden.decode.npz") as stored:
        turned = {**stored, "out/y": -stored["out/y"]}
    np.savez(folder / "golden.decode.npz", **turned)
    sealed(folder, toolchain)
    found = artifact.verify(folder, workers)
    assert (found["status"], found["replay"]["part"]) == ("FAIL_PARITY", "the decoder")
