"""`edgekit compare` on two real artifacts: executed, paired sample by sample, timed side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit import api
from edgekit.bench.compare import comparing, pairs
from edgekit.bench.measuring import Asked
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

RUNS = 2


@pytest.fixture(scope="module")
def artifacts(workers: Workers, kept: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    for precision in ("fp32", "int8"):
        target, output = f"onnxruntime-{precision}", folder / precision
        made = api.convert("mlp@torch", target, output=output, latency=False, workers=workers, store=kept)
        assert made.status == "PASS"
    return {path.name: path for path in folder.iterdir()}


def test_two_files_of_one_model(artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "RUNS", RUNS)
    labels: list[str] = []
    how = pairs.here(Asked(), 6, lambda event, label: labels.append(label) if event == "start" else None)
    found = comparing.compare(artifacts["fp32"], artifacts["int8"], how=how)
    findings = {finding.what: finding for _, finding in found.found}
    assert (findings["accuracy"].reason, findings["accuracy"].n) == ("paired sample by sample", 800)
    values = [json.loads((artifacts[name] / "manifest.json").read_text())["accuracy"]["artifact"] for name in artifacts]
    assert sorted([findings["accuracy"].old, findings["accuracy"].new]) == sorted(values)  # type: ignore[type-var]
    assert findings["accuracy"].verdict in ("SAME", "BETTER")
    assert findings["size"].verdict == "BETTER"
    assert findings["memory"].unit == "bytes"
    assert findings["memory"].old > 10e6  # type: ignore[operator]
    assert "measure 2 in turns" in labels
    assert findings["latency"].verdict == "NOT_COMPARED"
    assert "undisturbed runs in the time given, 6 are needed" in findings["latency"].reason
    assert found.status == "PASS"


def test_two_model_files_of_anybody(artifacts: dict[str, Path]) -> None:
    paths = [next(artifacts[name].glob("*.onnx")) for name in ("fp32", "int8")]
    found = comparing.compare(*paths)
    findings = {finding.what: finding for _, finding in found.found}
    assert findings["size"].verdict == "BETTER"
    assert findings["accuracy"].reason == "accuracy of OLD and NEW was not measured: there are no labels"
