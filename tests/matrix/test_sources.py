"""Every kind of source x every target ends as ``sources.toml`` says: PASS, or exit 3 with what to hand in instead."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from benchmarks import sources
from edgekit import api, cli, target

CHILDREN = Path(__file__).parent / "children"
KINDS = tomllib.loads((Path(__file__).parent / "sources.toml").read_text())["kind"]
MAKERS = (
    ("data", "data"), ("torch", "torch_files"), ("keras-tensorflow", "keras_files"), ("tf-keras", "keras2_files"),
)  # fmt: skip
TARGETS = sources.targets()
INT8 = [name for name in TARGETS if name.endswith("-int8")]


def in_every_run(place, name):
    """Of a kind of source fp32 tells what reads it, and one format in turn what quantizes it; others start so, too."""
    return name.endswith("-fp32") or name == INT8[place % len(INT8)]


CELLS = [
    pytest.param(
        kind,
        name,
        id=f"{kind['name']}-{name}",
        marks=[pytest.mark.matrix, *([] if in_every_run(place, name) else [pytest.mark.nightly])],
    )
    for place, kind in enumerate(kind for kind in KINDS if "given" in kind)
    for name in TARGETS
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    for path in CHILDREN.glob("*.py"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def files(folder, workers):
    """One trained network in every kind of file, and digits to calibrate and evaluate with; made when first needed."""
    made = set()

    def make(layout):
        for environment, function in MAKERS[:2] if layout == "first" else MAKERS:
            if function not in made:
                arguments = {"path": str(folder / "make_files.py"), "function": function}
                workers.call(environment, "edgekit.user_code:call", arguments)
                made.add(function)
        return folder

    return make


@pytest.fixture
def convert(files, workers, store, tmp_path, monkeypatch, capsys):
    """The command line on children that are shared: exit code and document."""
    monkeypatch.setattr(api, "convert", lambda *a, convert=api.convert, **k: convert(*a, **shared(k)))

    def shared(options):
        return {**options, "workers": workers, "store": store, "latency": False}

    def run(kind, name):
        folder = files(kind["layout"])
        data = [f"{folder}/{split}_{kind['layout']}.npz" for split in ("calibrate", "evaluate")]
        declared = [word for text in kind.get("input", []) for word in ("--input", text)]
        arguments = ["convert", f"{folder}/{kind['given']}", "--target", name, "-o", str(tmp_path / "artifact")]
        code = cli.run([*arguments, *declared, "--calibrate", data[0], "--evaluate", data[1], "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(("kind", "name"), CELLS)
def test_cell(kind, name, convert, tmp_path):
    code, document = convert(kind, name)
    record = next((r for r in kind.get("unsupported", []) if name in r["targets"]), None)
    if record is None:
        assert (code, document["status"]) == (0, "PASS"), document["reason"]
        assert document["proof"]["kind"] == target.load(name).proof
        assert document["accuracy"]["float"] > 0.97, "the network learned the digits"
        assert document["accuracy"]["samples"] == 1048
        return
    assert (code, document["status"]) == (3, "UNSUPPORTED"), document["reason"]
    assert re.search(record["reason"], document["reason"]), document["reason"]
    assert record["instead"] in document["error"]["hint"], "it says what to hand in instead"
    assert not (tmp_path / "artifact").exists()


def test_what_is_promised_is_recorded_without_exception():
    promised = {"zoo", ".keras", ".h5", "file.py"}
    for kind in KINDS:
        assert set(kind) <= {"name", "how", "given", "layout", "input", "unsupported", "promise", "instead", "after"}
        if any(kind["name"].startswith(word) for word in promised):
            assert "unsupported" not in kind, f"every target must work for {kind['name']}"
        for record in kind.get("unsupported", []):
            assert set(record["targets"]) <= set(TARGETS)
