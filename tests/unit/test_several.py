"""Several targets in one call, on a toolchain without a vendor: one table, a row each; nobody's result is lost."""

from __future__ import annotations

import inspect
import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgekit import api
from edgekit.cli.main import run
from edgekit.cli.making import several
from edgekit.errors import FailedError, UsageError
from edgekit.jobs.interruption import Interrupted
from edgekit.result import Accuracy
from edgekit.several import Options, SeveralError
from tests import null
from tests.unit.test_words import result as plain

TARGETS = ["null-fp32", "null-int8"]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    with null.installed():
        yield


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    return null.samples(tmp_path)


def test_a_list_gives_a_list_and_each_its_folder(tmp_path: Path, data: dict[str, str]) -> None:
    with null.Here() as workers:
        found = api.convert("dense@torch", TARGETS, output=tmp_path / "out", workers=workers, **data)
    assert [(one.target, one.status) for one in found] == [(name, "PASS") for name in TARGETS]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(TARGETS)


def test_what_is_wrong_with_one_is_said_before_any_work(tmp_path: Path) -> None:
    with null.Here() as workers, pytest.raises(UsageError, match="null-int8 needs calibration samples"):
        api.convert("dense@torch", TARGETS, output=tmp_path / "out", workers=workers)
    assert not (tmp_path / "out").exists()
    with null.Here() as workers, pytest.raises(UsageError, match="named twice"):
        api.convert("dense@torch", ["null-fp32", "null-fp32"], output=tmp_path / "out", workers=workers)


def test_of_one_that_cannot_be_served_the_others_are_kept(
    tmp_path: Path, data: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit import pipeline

    whole = pipeline.convert

    def broken(order: Any, **more: Any) -> Any:
        if order.target.name == "null-fp32":
            raise FailedError("the toolchain is on holiday", hint="Wait.")
        return whole(order, **more)

    monkeypatch.setattr(pipeline, "convert", broken)
    with null.Here() as workers, pytest.raises(SeveralError, match=r"1 of 2 .* null-fp32: the toolchain") as raised:
        api.convert("dense@torch", TARGETS, output=tmp_path / "out", workers=workers, **data)
    assert raised.value.exit_code == 6
    assert raised.value.ended["null-int8"].status == "PASS"  # type: ignore[union-attr]

    with null.Here() as workers:
        monkeypatch.setattr(api, "convert", partial(api.convert, workers=workers))
        options = ["--calibrate", data["calibrate"], "--evaluate", data["evaluate"]]
        command = ["convert", "dense@torch", "--target", ",".join(TARGETS), *options]
        assert run([*command, "-o", str(tmp_path / "two"), "--json"]) == 6
        document = json.loads(capsys.readouterr().out)
        assert (document["status"], document["reason"]) == ("FAILED", "the toolchain is on holiday")
        assert [(one["target"], one["status"]) for one in document["results"]] == [
            ("null-fp32", "FAILED"),
            ("null-int8", "PASS"),
        ]
        assert run([*command, "-o", str(tmp_path / "three")]) == 6
        said = capsys.readouterr().out
        assert "null-int8\tPASS" in said and "null-fp32: the toolchain is on holiday" in said
        assert "null-fp32, next step: Wait." in said
        # What one target would say of itself stands below the table.
        for note in raised.value.ended["null-int8"].notes:  # type: ignore[union-attr]
            assert f"null-int8, note: {note}" in said


def test_a_signal_leaves_what_was_done_before_and_says_so(
    tmp_path: Path, data: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit import pipeline

    whole = pipeline.convert

    def stopped(order: Any, **more: Any) -> Any:
        if order.target.name == "null-int8":
            raise Interrupted(signal.SIGTERM)
        return whole(order, **more)

    monkeypatch.setattr(pipeline, "convert", stopped)
    with null.Here() as workers:
        monkeypatch.setattr(api, "convert", partial(api.convert, workers=workers))
        command = ["convert", "dense@torch", "--target", ",".join(TARGETS), "--calibrate", data["calibrate"]]
        assert run([*command, "-o", str(tmp_path / "out")]) == 128 + signal.SIGTERM
    assert "Done before: null-fp32 PASS" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["null-fp32"]


def test_what_is_said_of_several_targets_is_said_once() -> None:
    error = FailedError("the sky fell", hint="Look up.")
    assert list(several._below({"a": error, "b": error})) == ["a, b: the sky fell", "a, b, next step: Look up."]


def test_targets_are_named_by_commas_and_again(tmp_path: Path) -> None:
    file = tmp_path / "a,b.toml"
    file.touch()
    assert several.named(["x,y", " z ", str(file)]) == ["x", "y", "z", str(file)]
    many = [f"target-{number:04}" for number in range(1000)]
    assert several.named([",".join(many)]) == many


def test_the_options_of_the_annotation_are_those_of_the_function() -> None:
    taken = inspect.signature(api.convert).parameters.values()
    assert set(Options.__annotations__) == {one.name for one in taken if one.kind is one.KEYWORD_ONLY}


def test_a_drop_is_in_the_unit_of_its_limit() -> None:
    """As everywhere else: points, or percent of an error."""
    facts: Any = {
        "higher_is_better": True, "samples": 90, "float_": 0.9, "checkpoint": 0.9, "artifact": 0.84,
        "drop": 0.0557, "drop_ci95": (0.0, 0.1), "agreement": None,
    }  # fmt: skip
    ended = plain(None).model_copy(update={"accuracy": Accuracy(metric="top1", **facts)})
    assert several._row("t", ended)["drop"] == "+5.57 points"
    ended = ended.model_copy(update={"accuracy": Accuracy(metric="perplexity", **facts)})
    assert several._row("t", ended)["drop"] == "+5.57%"
