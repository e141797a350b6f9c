"""The GitHub Action on an example project: its own steps, run by bash in a git repository of two commits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgekit.artifact import contents
from edgekit.bench import rows
from edgekit.bench.measuring import Asked, find
from edgekit.ci import action
from edgekit.jobs.workers import Workers

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
ARTIFACT = "artifacts/digits"


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clone, as actions/checkout makes it: one commit of a pull request's branch; ``main`` is at the origin alone."""
    origin = tmp_path / "origin"
    shutil.copytree(ROOT / "tests" / "example_project", origin)
    git(origin, "init", "-q", "-b", "main")
    git(origin, "add", "-A")
    git(origin, "commit", "-q", "-m", "base")
    git(origin, "checkout", "-q", "-b", "change")
    git(tmp_path, "clone", "-q", "--depth", "1", "--branch", "change", f"file://{origin}", "head")
    return tmp_path / "head"


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Another artifact of the same model: its manifest changed and sealed anew, as a conversion would."""
    document = json.loads((folder / "manifest.json").read_text())
    change(document)
    document["files"] = [file.model_dump() for file in contents.sealed_files(folder)]
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "manifest.sha256").write_text(contents.seal_of(folder))


def other_model(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"\0")


def less_accurate(document: dict[str, Any]) -> None:
    document["accuracy"] |= {"flips": [120, 2], "artifact": document["accuracy"]["float"] - 118 / 2000,
                             "drop": 118 / 2000, "drop_ci95": [0.048, 0.07]}  # fmt: skip


def run(project: Path, **inputs: str) -> tuple[int, str, dict[str, str], str]:
    """The action's second step; exit code, summary, outputs and log."""
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "compare")
    given = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    given |= {"base-ref": "main", "artifact": ARTIFACT, "seconds": "0", "python": sys.executable}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    summary, outputs = project.parent / "summary.md", project.parent / "outputs"
    for file in (summary, outputs):
        file.write_text("")
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_OUTPUT": str(outputs),
        **{name: given[re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value)[1]] for name, value in step["env"].items()},
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=project, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    found = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    return done.returncode, summary.read_text(), found, done.stdout + done.stderr


def test_an_artifact_that_did_not_become_worse_passes(project: Path) -> None:
    code, summary, outputs, log = run(project)
    assert (code, outputs) == (0, {"status": "pass", "exit-code": "0"}), log
    assert "PASS" in summary
    assert "OLD is `artifacts/digits of main`, NEW is `artifacts/digits`." in summary
    assert "| top1 " in summary
    assert "::error::" not in log


def test_a_loss_of_accuracy_fails(project: Path) -> None:
    other_model(project / ARTIFACT)
    edit(project / ARTIFACT, less_accurate)
    code, summary, outputs, log = run(project)
    assert (code, outputs["status"]) == (4, "accuracy")
    assert "| accuracy | x WORSE |" in summary
    assert "::error::artifacts/digits: FAIL_ACCURACY" in log
    assert run(project, max_drop="0.2")[0] == 0


def test_a_larger_file_fails(project: Path) -> None:
    other_model(project / ARTIFACT)
    edit(project / ARTIFACT, lambda document: document.update(size_bytes=2 * document["size_bytes"]))
    code, summary, outputs, _ = run(project)
    assert (code, outputs["status"]) == (5, "performance")
    assert "| size | x WORSE |" in summary
    assert run(project, max_growth="2.5")[0] == 0


def test_without_a_base_there_is_nothing_to_compare_with(project: Path) -> None:
    (project / ARTIFACT).rename(project / "artifacts" / "new")
    code, summary, _, log = run(project, artifact="artifacts/new")
    assert code == 0
    assert "main has no artifacts/new: nothing to compare it with." in summary
    assert "::notice::artifacts/new: main has no artifacts/new" in log
    code, summary, _, _ = run(project, base_ref="")
    assert (code, "there is no base branch" in summary) == (0, True)


def test_the_base_may_be_a_file_of_rows(project: Path) -> None:
    with Workers() as workers:
        row = find(project / ARTIFACT, Asked(), workers).row
    origin = project.parent / "origin"
    git(origin, "checkout", "-q", "main")
    rows.append(origin / "rows.jsonl", [row])
    git(origin, "add", "rows.jsonl")
    git(origin, "commit", "-q", "-m", "rows")
    edit(project / ARTIFACT, lambda document: document.update(size_bytes=2 * document["size_bytes"]))
    code, summary, _, _ = run(project, base_path="rows.jsonl")
    assert code == 5
    assert "OLD is `rows.jsonl of main`" in summary


def test_an_edited_artifact_is_refused(project: Path) -> None:
    other_model(project / ARTIFACT)
    code, summary, outputs, _ = run(project)
    assert (code, outputs["status"]) == (8, "error")
    assert "model.onnx is altered" in summary


def test_of_several_artifacts_the_worst_decides(project: Path) -> None:
    shutil.copytree(project / ARTIFACT, project / "artifacts" / "second")
    other_model(project / ARTIFACT)
    edit(project / ARTIFACT, less_accurate)
    code, summary, _, _ = run(project, artifact=f"{ARTIFACT}\nartifacts/second\n")
    assert code == 4
    assert "### `artifacts/second`" in summary


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"artifact": "../elsewhere"}, "does not lie in the repository"),
        ({"artifact": "/etc"}, "does not lie in the repository"),
        ({"artifact": "  \n"}, "no artifact is named"),
        ({"base_ref": "--upload-pack=touch pwned"}, "is no branch or commit"),
        ({"base_ref": "a..b"}, "is no branch or commit"),
        ({"base_ref": "$(touch pwned)"}, "is no branch or commit"),
        ({"base_ref": "nowhere"}, "git knows no nowhere"),
        ({"max_drop": "lots"}, "a limit is no number"),
        ({"max_growth": "0.5"}, "a limit is no number"),
    ],
)
def test_hostile_inputs_are_values_and_nothing_else(project: Path, inputs: dict[str, str], message: str) -> None:
    code, summary, outputs, _ = run(project, **inputs)
    assert (code, outputs["status"]) == (2, "error")
    assert message in re.sub(r"\\(.)", r"\1", summary)
    assert not list(project.parent.rglob("pwned"))


@pytest.mark.parametrize("artifact", ["$(touch pwned)", "`touch pwned`", "x; touch pwned", ":(glob)**", "::error::x"])
def test_hostile_names_of_artifacts_run_nothing(project: Path, artifact: str) -> None:
    code, summary, _, log = run(project, artifact=artifact)
    assert code == 0, log
    assert "nothing to compare it with" in summary
    assert not list(project.parent.rglob("pwned"))


def test_no_expression_stands_in_a_shells_text() -> None:
    """What a pull request's author may choose, a branch's name, would be executed there."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_its_shell_is_clean() -> None:
    for step in ACTION["runs"]["steps"]:
        subprocess.run(["shellcheck", "--shell=bash", "-"], input=step["run"], text=True, check=True)


def test_every_input_and_output_is_described_and_used() -> None:
    text = (ROOT / "action.yml").read_text()
    for name, one in ACTION["inputs"].items():
        assert one["description"]
        assert f"inputs.{name} }}}}" in text, name
    assert {"status", "exit-code"} == set(ACTION["outputs"])


def test_an_annotation_is_one_line(capsys) -> None:
    action._annotate("error", "a%\n::error::b\r")
    assert capsys.readouterr().out == "::error::a%25\\n::error::b\\r\n"
