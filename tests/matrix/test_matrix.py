"""Every model x framework x target ends with a status: PASS, or the one recorded with its reason. Strict both ways."""

import os
import re
import tomllib
from pathlib import Path

import pytest

import edgekit
from edgekit import target, zoo
from edgekit.errors import EdgekitError

RECORDS = tomllib.loads((Path(__file__).parent / "records.toml").read_text()).get("cell", [])
EXPECTED = {(r["model"], r["framework"], r["target"]): r for r in RECORDS}

#: Lowering to ExecuTorch and evaluating ML Programs take minutes per model: each run of the tests does these formats on
#: the small models and the recorded cells only. `make matrix` and EDGEKIT_WHOLE_MATRIX=1 do every cell.
EVERY_RUN = ("tflite", "onnx", "openvino")
SHORT = ("mlp", "lenet5")

CELLS = [
    pytest.param(
        model,
        framework,
        name,
        id=f"{model}-{framework}-{name}",
        marks=[pytest.mark.matrix, pytest.mark.xdist_group(f"{model}-{framework}")],
    )
    for model in zoo.names()
    for framework in ("keras", "torch")
    for name in target.names()
    if os.environ.get("EDGEKIT_WHOLE_MATRIX")
    or target.load(name).format in EVERY_RUN
    or model in SHORT
    or (model, framework, name) in EXPECTED
]


@pytest.mark.parametrize(("model", "framework", "name"), CELLS)
def test_cell(model, framework, name, workers, store, tmp_path):
    try:
        result = edgekit.convert(
            f"{model}@{framework}", name, output=tmp_path / "artifact", workers=workers, store=store
        )
        status, reason = result.status, result.reason
    except EdgekitError as error:
        status, reason = error.code.upper(), str(error)
    record = EXPECTED.get((model, framework, name))
    if record is None:
        assert status == "PASS", reason
        assert result.proof.kind == target.load(name).proof
        assert (tmp_path / "artifact" / "manifest.json").is_file()
        return
    assert status == record["status"], f"recorded {record['status']}: {record['because']}\nnow {status}: {reason}"
    assert re.search(record["reason"], reason), reason


def test_every_record_names_a_cell():
    known = {(m, f, t) for m in zoo.names() for f in ("keras", "torch") for t in target.names()}
    assert set(EXPECTED) <= known
    assert len(EXPECTED) == len(RECORDS)
