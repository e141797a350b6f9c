"""The pytest plug-in around results that are given: what it says, also with pytest-xdist's processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.ci import parity
from edgekit.result import Result

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "tests" / "example_project" / "artifacts" / "digits" / "manifest.json"

CONFTEST = f"""
from pathlib import Path
from edgekit import api
from edgekit.result import Result

RESULT = Result.model_validate_json(Path({str(MANIFEST)!r}).read_bytes())
api.convert = lambda source, target, **options: RESULT.model_copy(
    update={{"artifact": str(options["output"]), "target": target}}
)
"""

TESTS = """
import edgekit, pytest

@pytest.mark.parametrize("number", range(3))
def test_one(edgekit_parity, number):
    assert edgekit_parity("mlp@torch", "onnxruntime-int8").accuracy.samples == 800

def test_two_in_one(edgekit_parity):
    first, second = (edgekit_parity("mlp@torch", target) for target in ("tflite-int8", "openvino-int8"))
    assert first.artifact != second.artifact

def test_without_the_fixture():
    edgekit.assert_parity("mlp@torch")
"""


@pytest.mark.parametrize("processes", [(), ("-p", "xdist.plugin", "-n", "2")], ids=["one", "xdist"])
def test_rows_of_all_processes_come_together(processes: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "edgekit.ci.plugin", "-p", "no:cacheprovider", *processes,
        "--edgekit-report", "rows.jsonl",
    ]  # fmt: skip
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 rows added to rows.jsonl" in done.stdout
    assert "test_mine.py::test_one[2]" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    targets = sorted(row["cell"]["target"] for row in rows)
    assert targets == ["onnxruntime-int8"] * 3 + ["openvino-int8", "tflite-int8"]


def result(**changes: Any) -> Result:
    return Result.model_validate_json(MANIFEST.read_bytes()).model_copy(update=changes)


def test_what_passes_says_nothing() -> None:
    assert parity.wrong(result(), evaluated=True) == ""
    assert parity.wrong(result(accuracy=None), evaluated=False) == ""


@pytest.mark.parametrize("status", ["FAIL_ACCURACY", "UNDECIDED", "FAIL_PARITY", "FAILED", "UNSUPPORTED", "NOT_RUN"])
def test_what_does_not_pass_says_the_evidence(status: Any) -> None:
    said = parity.wrong(result(status=status, reason="top1 drops by 4 points"), evaluated=True)
    assert said.startswith(f"mlp for onnxruntime-int8 is {status}: top1 drops by 4 points")
    for word in ("top1", "95 % interval", "n = 800", "SQNR", "routes tried"):
        assert word in said


def test_without_labels_a_pass_is_none() -> None:
    assert "there are no labels" in parity.wrong(result(accuracy=None), evaluated=True)


def test_a_limit_that_is_none_is_refused() -> None:
    from edgekit import api
    from edgekit.errors import UsageError

    for limit in (0.0, 1.0, float("nan")):
        with pytest.raises(UsageError, match="is no limit"):
            api.convert("lenet5@torch", "tflite-int8", max_drop=limit)


def test_a_limit_takes_the_place_of_the_targets() -> None:
    from edgekit import api
    from edgekit import target as targets

    packaged = targets.load("tflite-int8")
    found = api._allowing(packaged, 0.05)
    assert {found.gate.drop_max(family) for family in ("top1", "map", "relative")} == {0.05}
    assert (found.gate.parity, found.file) == (packaged.gate.parity, packaged.file)
