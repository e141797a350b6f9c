"""Hints name a next step that exists and that helps."""

from __future__ import annotations

import ast
import errno
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgekit
from edgekit import api, errors
from edgekit.artifact import folder, publishing
from edgekit.cli.main import app, run
from edgekit.errors import EdgekitError, UsageError, of_system
from edgekit.jobs import child
from edgekit.proof import metrics
from edgekit.proof.metrics import classes
from edgekit.sources import source as sources

PACKAGE = Path(edgekit.__file__).parent
#: What a model's own code raised: what to do about it only its author knows.
WITHOUT = "faults.told(error, self.native)"


def test_errors_about_what_people_bring_have_a_next_step() -> None:
    """Of sources and frameworks; damaged files have one of their kind."""
    lacking = []
    for file in (*(PACKAGE / "sources").rglob("*.py"), *(PACKAGE / "frameworks").rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            kind = getattr(errors, call.func.id, None)
            if not isinstance(kind, type) or not issubclass(kind, EdgekitError) or kind is errors.DamagedFileError:
                continue
            if ast.unparse(call.args[0]) != WITHOUT and "hint" not in {keyword.arg for keyword in call.keywords}:
                lacking.append(f"{file.relative_to(PACKAGE)}:{call.lineno}")
    assert not lacking
    assert errors.DamagedFileError("m.onnx").hint


def test_an_article_fits_what_is_said() -> None:
    names = ("OrderedDict", "GRU", "LSTM", "UNet", "dict", "int", "Functional", "NoneType", "MLP", "_Own")
    assert [errors.with_article(name).split()[0] for name in names] == (
        ["an", "a", "an", "a", "a", "an", "a", "a", "an", "a"]
    )


@pytest.mark.parametrize("ending", [".onnx", ".keras", ".pt2"])
def test_a_folder_with_the_ending_of_a_file_is_called_a_folder(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / f"x{ending}"
    folder.mkdir()
    (folder / f"model{ending}").write_text("1")
    error = _raised(sources.resolve, str(folder))
    assert "is a folder, and a model of this ending is a file" in str(error)
    assert str(folder / f"model{ending}") in error.hint


def test_a_folder_is_not_opened_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").mkdir()
    for call in (api.inspect, api.run_file):
        assert "is a folder" in str(_raised(call, tmp_path / "x.onnx"))


def _raised(call: object, *arguments: object) -> EdgekitError:
    assert callable(call)
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    return caught.value


def test_an_unknown_metric_names_a_command_that_exists() -> None:
    hint = _raised(metrics.metric, "top3").hint
    command = hint.split("`")[1].split()[1:]
    assert CliRunner().invoke(app, command).exit_code == 0, hint


def test_quantities_for_the_metric_of_classes_are_told_theirs() -> None:
    assert "--metric mae" in _raised(classes.check_labels, np.zeros((9, 4)), (9, 4)).hint


def test_a_file_without_a_named_function_is_offered_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("from blocks import Block\ndef build():\n    return Block()\n")
    assert "model.py:build;" in _raised(sources.resolve, str(tmp_path / "model.py")).hint


def test_a_place_that_is_not_there_is_not_said_to_be_full(tmp_path: Path) -> None:
    for code, full in ((errno.ENOENT, False), (errno.ENOSPC, True)):
        error = publishing.unwritable(tmp_path, OSError(code, os.strerror(code)))
        assert ("Free space" in error.hint) == full
    assert str(_raised(folder.read, tmp_path / "nothing")).startswith("no such folder")


def test_native_code_that_fills_the_disk_is_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words are those of safetensors."""

    def write() -> None:
        raise ValueError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(os, "filling", write, raising=False)
    error = child._answer({"step": "os:filling", "arguments": {}}, first=True)["error"]
    assert error["type"] == "UsageError"
    assert "EDGEKIT_HOME" in error["hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "x" * 300 + ".keras", "--target", "tflite-fp32"],
        ["convert", "x" * 300 + ".py:build", "--target", "tflite-fp32"],
        ["convert", "lenet5", "--target", "x" * 300],
        ["convert", "lenet5", "--target", "tflite-fp32", "--calibrate", "x" * 300 + ".npz"],
    ],
)
def test_a_name_that_is_too_long_is_said_to_be(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    told = capsys.readouterr().err
    assert "is too long for this system" in told and "Traceback" not in told and "bug" not in told


def test_a_folder_that_is_gone_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run(["list", "targets"]) == 2
    told = capsys.readouterr().err
    assert "the current folder has been deleted" in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("code", "said", "step"),
    [
        (errno.EMFILE, "too many files are open", "ulimit -n"),
        (errno.ENOSPC, "folder/file could not be written: No space left", "Free space"),
        (errno.EACCES, "folder/file: Permission denied", "may be read"),
    ],
)
def test_what_the_system_refuses_is_no_bug_of_ours(code: int, said: str, step: str) -> None:
    error = of_system(OSError(code, os.strerror(code), "folder/file"))
    assert error is not None and said in str(error) and step in error.hint
    assert of_system(OSError(errno.EPIPE, os.strerror(errno.EPIPE))) is None


def test_a_timeout_is_a_number_of_seconds() -> None:
    with pytest.raises(UsageError, match="--timeout nan is no time above 0"):
        api.convert("lenet5", "tflite-fp32", timeout=float("nan"))
