"""Equalization on graphs of both frameworks: what is free is found, the model computes the same, files get closer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit import target
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from tests.contract.conftest import inside

CHILDREN = Path(__file__).parent / "children"
METHODS = ("cle", "smoothquant", "awq")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Any:
    """What ``equalized.py`` found, by framework."""
    rows = {}
    for framework in ("torch", "keras"):
        out = tmp_path_factory.mktemp("equalized") / f"{framework}.json"
        environment = "torch" if framework == "torch" else "keras-torch"
        inside(workers, "equalized.py", framework, str(out), environment=environment)
        rows[framework] = json.loads(out.read_text())
    return rows


def test_what_is_free_is_found_and_nothing_else(found: Any) -> None:
    rows = found["torch"]["seams"]
    assert {tuple(giving): tuple(reading) for giving, reading in rows} == {
        ("norm.weight", "norm.bias"): ("second.weight",),
        ("second.weight", "second.bias"): ("depthwise.weight",),
        ("depthwise.weight", "depthwise.bias"): ("point.weight",),
        ("layer_norm.weight", "layer_norm.bias"): ("gate.weight", "up.weight"),
        ("up.weight", "up.bias"): ("down.weight",),
        ("down.weight", "down.bias"): ("third.weight",),
    }
    assert len(found["keras"]["seams"]) == 5, "a batch norm that is spelled out, and biases that are added, among them"


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize("method", METHODS)
def test_the_model_computes_what_it_did(found: Any, framework: str, method: str) -> None:
    row = found[framework][method]
    assert row["seams"] >= 2
    assert row["sqnr_db"] > 100, "in the framework itself, on inputs that chose nothing"


def test_with_a_scale_per_tensor_rounding_costs_less_behind_cle(found: Any) -> None:
    """Channels of the model are of very different sizes."""
    row = found["torch"]["cle"]
    assert row["equalized_db"] > row["plain_db"] + 3, row


@pytest.mark.nightly  # a quarter of a minute
def test_rounding_trained_weights_to_4_bits_costs_less_behind_awq(
    tmp_path: Path, workers: Workers, store: Store
) -> None:
    found = {
        method: edgekit.convert(
            "char_llama@torch", "onnxruntime-int4", output=tmp_path / method, rounding="nearest", equalize=method,
            latency=False, store=store, workers=workers,
        )
        for method in ("none", "awq")
    }  # fmt: skip
    plain, scaled = (found[method].routes_tried[0] for method in ("none", "awq"))
    assert (plain.recipe, scaled.recipe) == (None, "awq")
    lost = [float(re.search(r"drops by ([\d.]+) %", tried.reason)[1]) for tried in (plain, scaled)]
    assert lost[1] < 0.9 * lost[0], lost


@pytest.mark.nightly  # half a minute
def test_a_target_tries_it_where_no_route_passes(tmp_path: Path, workers: Workers, store: Store) -> None:
    """By a gate between what the zoo's decoder loses without and with it (1.0 and 0.5 %)."""
    text = (Path(edgekit.__file__).parents[1] / "targets" / "onnxruntime-int8.toml").read_text()
    kept = text[: text.index("[gate")] if "[gate" in text else text
    own = tmp_path / "strict.toml"
    own.write_text(kept.rstrip() + "\n\n[gate.relative]\ndrop_max = 0.007\n")
    assert target.load(str(own)).equalize == "smoothquant"
    given = {"latency": False, "store": store, "workers": workers}
    made = edgekit.convert("char_llama@torch", str(own), output=tmp_path / "a", **given)
    never = edgekit.convert("char_llama@torch", str(own), output=tmp_path / "b", equalize="none", **given)
    assert made.status == "PASS" and never.status != "PASS"
    assert [(tried.recipe, tried.status == "PASS") for tried in made.routes_tried][-1] == ("smoothquant", True)
    assert {tried.recipe for tried in never.routes_tried} == {None}
    assert any("were equalized by smoothquant on 256 calibration samples" in note for note in made.notes)
    assert made.accuracy.drop < 0.007


def test_what_does_not_fit_is_refused_before_any_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekit", "convert", f"{CHILDREN}/seams.py:Seams", "--trust"]
    for options, said in (
        (["--target", "tflite-int8", "--equalize", "awk"], "Allowed: none, cle, smoothquant, awq"),
        (["--target", "tflite-int8", "--equalize", "awq"], "awq is for int4 weights"),
        (
            ["--target", "tflite-int8-dynamic", "--equalize", "smoothquant"],
            "smoothquant is for activations in integers",
        ),
        (["--target", "tflite-fp16", "--equalize", "cle"], "tflite-fp16 quantizes nothing"),
        (["--target", "tflite-int4", "--equalize", "awq"], "--equalize awq needs calibration samples"),
    ):
        done = subprocess.run([*command, *options, "-o", str(tmp_path / "out")], capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr, done.stderr
