"""A toolchain's own interpreter: it runs that toolchain's jobs, and keys and results say so."""

from __future__ import annotations

import site
import sys
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit import cli, pipeline
from edgekit.errors import UsageError
from edgekit.jobs import interpreters
from edgekit.jobs.interpreters import HERE, requirements
from edgekit.jobs.store import Store
from tests import null
from tests.unit.test_whole_pipeline import ordered


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another interpreter that sees what is installed here, but for a NumPy that says that it is another version."""
    folder = tmp_path_factory.mktemp("own")
    venv.create(folder, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "numpy-0.0.1.dist-info").mkdir()
    (packages / "numpy-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    (packages / "here.pth").write_text("\n".join(site.getsitepackages()))
    return str(folder / "bin" / "python")


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    with null.installed():
        return null.samples(tmp_path)


def test_jobs_of_the_toolchain_run_on_it_and_no_others(
    python: str, data: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    store = Store(tmp_path / "home")
    with null.installed(), null.Children() as children:
        order = replace(ordered(output=tmp_path / "a", **data), latency=False)
        here = pipeline.convert(order, workers=children, store=store)
        monkeypatch.setenv("EDGEKIT_PYTHON_NULL", python)
        there = pipeline.convert(replace(order, output=tmp_path / "b"), workers=children, store=store)
        ran_on = {key: worker.interpreter.python for key, worker in children._children.items()}
    assert (here.status, there.status) == ("PASS", "PASS")
    assert ran_on["runtime-null"] == python
    assert {ran_on[key] for key in ran_on if "null" not in key} == {sys.executable}
    assert there.tools["null's own environment"] == f"Python {HERE.version}, numpy 0.0.1"
    assert "null's own environment" not in here.tools
    made = set(there.reused)
    assert {"load", "samples:selection", "reference:selection"} <= made, "what is no job of the toolchain's is reused"
    assert not any(label.startswith(("convert", "prove")) for label in made), "its versions are in the keys"


def test_a_model_is_loaded_there_only_where_its_framework_is(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_PYTHON_ONNX", python)
    own = interpreters.of("onnx")
    assert own is not None
    has = "torch" in (own.distributions or {})
    assert interpreters.for_job("torch", {"toolchain": "onnx"}) == (own if has else HERE)
    monkeypatch.setattr(interpreters, "of", lambda _: replace(own, distributions={}))
    assert interpreters.for_job("torch", {"toolchain": "onnx"}) == HERE
    assert interpreters.for_job("runtime", {"toolchain": "onnx"}).python == python
    assert interpreters.for_job("runtime", {"toolchain": None}) == HERE


def test_an_interpreter_that_cannot_be_asked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_PYTHON_ONNX", str(tmp_path / "python"))
    with pytest.raises(UsageError, match="interpreter of onnx") as raised:
        interpreters.of("onnx")
    assert "EDGEKIT_PYTHON_ONNX" in raised.value.hint and "doctor --install onnx" in raised.value.hint


def test_an_interpreter_that_lacks_what_every_job_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv.create(tmp_path, with_pip=False)
    monkeypatch.setenv("EDGEKIT_PYTHON_ONNX", str(tmp_path / "bin" / "python"))
    with pytest.raises(UsageError, match="lacks numpy and pydantic"):
        interpreters.of("onnx")


def test_an_environment_needs_what_edgekit_and_the_toolchains_extra_do() -> None:
    lines = ["numpy>=2", "onnx==1.23.*; extra == 'onnx'", "torch==2.13.*; extra == 'torch'"]
    assert requirements("onnx", lines) == ["numpy>=2", "onnx==1.23.*"]


def test_only_a_toolchain_has_an_environment_of_its_own(capsys: Any) -> None:
    assert cli.run(["doctor", "--install", "onxx"]) == 2
    assert "onnx" in capsys.readouterr().err
