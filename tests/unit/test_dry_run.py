"""What `--dry-run` says, what `-v` and `-q` do, and what steps took before; on a toolchain without a vendor."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import api
from edgekit.cli.main import run
from edgekit.cli.making import dry_run
from edgekit.jobs import extras
from edgekit.jobs.store import Store, home
from edgekit.jobs.telling.times import Times
from tests import null


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dry_run, "Workers", lambda limits: null.Here())
    with null.installed():
        yield


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    data = null.samples(tmp_path)
    given = ["--calibrate", data["calibrate"], "--evaluate", data["evaluate"]]
    return ["convert", "dense@torch", "--target", "null-int8", *given, "-o", str(tmp_path / "out")]


def test_nothing_is_converted_and_what_would_be_is_named(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--dry-run", "--json"]) == 0
    cold = json.loads(capsys.readouterr().out)
    assert (cold["status"], cold["dry_run"], cold["reused"]) == ("PASS", True, [])
    assert cold["looked_at"] == ["load", "samples:calibration", "samples:selection"]
    assert cold["first"] == "reference:selection"
    assert cold["routes"][0]["target"] == "null-fp32", "the float twin comes first"
    assert {row["target"] for row in cold["routes"]} == {"null-fp32", "null-int8"}
    steps = {row["step"].rpartition(".")[2] for row in Store().rows()}
    assert steps == {"describe:run", "samples:run", "convert:routes"} and not (tmp_path / "out").exists()

    with null.Here() as workers, monkeypatch.context() as here:
        here.setattr(api, "convert", partial(api.convert, workers=workers))
        assert run(command) == 0
    made = Store().keys()
    capsys.readouterr()
    assert run([*command[:-1], str(tmp_path / "other"), "--dry-run"]) == 0
    warm = dict(line.split("\t") for line in capsys.readouterr().out.splitlines() if not line.startswith("route"))
    assert warm["reused"].startswith("load, ") and "it ends as PASS" in warm["runs"]
    assert Store().keys() == made and not (tmp_path / "other").exists()

    key = next(row["key"] for row in Store().rows() if row["step"] == "edgekit.steps.score:run")
    (Store().root / key / "entry.json").unlink()
    assert run([*command[:-1], str(tmp_path / "other"), "--dry-run", "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert part["first"].startswith("score:") and part["first_took_before"].endswith(" s")
    assert 0 < len(part["reused"]) < len(made) + 1 and part["looked_at"] == []


def test_several_targets_are_told_one_by_one(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command[command.index("null-int8")] = "null-fp32,null-int8"
    assert run([*command, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["target"] for one in found["results"]] == ["null-fp32", "null-int8"]


def test_what_is_missing_is_said_with_its_install_line_and_exits_as_convert_does(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edgekit.toolchains import null as facts  # type: ignore[attr-defined]

    monkeypatch.setattr(facts, "PACKAGES", ("no-such-tool",))
    monkeypatch.setattr(extras, "installable", lambda: {"null": ["no-such-tool"]})
    assert run([*command, "--dry-run", "--json"]) == 7
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["reason"]) == ("FAILED", "no-such-tool not installed here")
    assert found["error"]["code"] == "missing-dependency"
    assert found["missing"] == [
        {"extra": "null", "distributions": ["no-such-tool"], "install": "pip install 'edgekit[null]'"}
    ]


def test_what_convert_refuses_before_work_a_dry_run_refuses(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert run([*command, "--dry-run"]) == 2
    assert run(["convert", "dense@torch", "--target", "null-int8", "--dry-run"]) == 2, "it needs calibration samples"
    assert run(["convert", "dense@torch", "--target", "null-fp32,null-fp32", "--dry-run"]) == 2, "they are one"


@pytest.mark.parametrize("fault", ["names", "shapes", "dtypes"])
def test_what_convert_refuses_of_the_samples_a_dry_run_refuses(
    fault: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "other.npz"
    arrays = {
        "names": {"other": np.zeros((40, 8), "float32")},
        "shapes": {"x": np.zeros((40, 9), "float32")},
        "dtypes": {"x": np.full((40, 8), "a")},
    }
    np.savez(file, **arrays[fault])
    command[command.index("--calibrate") + 1] = str(file)
    with null.Here() as workers, pytest.MonkeyPatch.context() as here:
        here.setattr(api, "convert", partial(api.convert, workers=workers))
        assert run(command) == 2
    said = capsys.readouterr().err.splitlines()[-2:]
    Store().clear()
    assert run([*command, "--dry-run"]) == 2
    assert capsys.readouterr().err.splitlines()[-2:] == said, "in the same words"


def test_routes_of_other_frameworks_are_not_listed(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from edgekit.toolchains.null import routes  # type: ignore[attr-defined]

    routes.ROUTES["rounded-whole"] = replace(routes.ROUTES["rounded-whole"], environments={"keras": "runtime"})
    assert run([*command, "--dry-run", "--json"]) == 0
    assert [row["route"] for row in json.loads(capsys.readouterr().out)["routes"]] == ["floats", "rounded"]
    Store().clear()
    routes.ROUTES["floats"] = replace(routes.ROUTES["floats"], environments={"keras": "keras-torch"})
    assert run([*command, "--dry-run", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["reason"].startswith("null-fp32 has no route for a zoo source of torch"), found


def test_a_step_says_what_it_took_before(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with null.Here() as workers:
        monkeypatch.setattr(api, "convert", partial(api.convert, workers=workers))
        assert run(command) == 0
        said = capsys.readouterr().err.splitlines()
        assert "  load ..." in said, "nothing is known of a first time"
        assert any(line.startswith("  load  ") and line.endswith(" s") for line in said)
        Store().clear()
        assert run([*command, "-v"]) == 0
        said = capsys.readouterr().err.splitlines()
        assert any(line.startswith("  load ... (before: 0.") for line in said)
        assert any(": planned" in line for line in said), "routes are named"
        assert any("edgekit.steps.describe:run in a child torch of " in line and "its log: " in line for line in said)
        assert any("CPU s, at most " in line for line in said)
        assert run([*command, "-q"]) == 0
        assert capsys.readouterr().err == ""
        assert run(["-q", *command]) == 0
        assert capsys.readouterr().err == "", "before the command as well"
        assert run(["--verbose", *command]) == 0
        assert ": planned" in capsys.readouterr().err


def test_times_are_kept_by_model_and_step_and_never_in_the_way(tmp_path: Path) -> None:
    times = Times(tmp_path)
    assert times.before("a", "load") is None
    times.took("a", "load", 2.5)
    times.took("a", "load", 3.5)
    times.took("b", "load", 1.0)
    assert (times.before("a", "load"), times.before("b", "load"), times.before("a", "audit")) == (3.5, 1.0, None)
    (tmp_path / "times.sqlite").write_bytes(b"no database")
    assert times.before("a", "load") is None
    times.took("a", "load", 1.0)
    Times(tmp_path / "nowhere").took("a", "load", 1.0)


def test_logs_of_children_stay_where_the_user_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.errors import UsageError
    from edgekit.jobs.workers import Workers

    monkeypatch.setenv("EDGEKIT_LOGS", str(tmp_path / "logs"))
    with Workers() as workers:
        assert workers.logs == tmp_path / "logs"
        workers.call("runtime", "edgekit.jobs.host:host", {})
    assert [path.name for path in (tmp_path / "logs").iterdir()] == ["runtime.log"]
    monkeypatch.setenv("EDGEKIT_LOGS", "/dev/null/logs")
    with pytest.raises(UsageError, match="EDGEKIT_LOGS"):
        Workers()
    assert home() == tmp_path / "home"
