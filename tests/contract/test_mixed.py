"""Sensitivity and mixed precision, on a model of which one layer alone loses in 8 bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit import api
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers

CHILDREN = Path(__file__).parent / "children"
SOURCE = f"{CHILDREN}/one_hard_layer.py:OneHardLayer"
TARGETS = [
    "onnxruntime-int8",
    "tflite-int8",
    *(pytest.param(name, marks=pytest.mark.nightly) for name in ("openvino-int8", "executorch-int8")),
]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, printed: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("data")
    code = "import one_hard_layer, pathlib, sys; one_hard_layer.write_data(pathlib.Path(sys.argv[1]))"
    printed(code, folder, environment="torch")
    data = {side: str(folder / f"{side}.npz") for side in ("calibrate", "evaluate")}
    return {**data, "trust": True, "store": Store(tmp_path_factory.mktemp("home"))}


@pytest.mark.parametrize("target", TARGETS)
def test_the_fewest_layers_are_kept_in_float(given: Any, workers: Workers, tmp_path: Path, target: str) -> None:
    plain = edgekit.convert(SOURCE, target, output=tmp_path / "plain", latency=False, workers=workers, **given)
    assert plain.status in ("FAIL_ACCURACY", "FAIL_PARITY"), "else there is nothing to mend"
    made = edgekit.convert(
        SOURCE, target, output=tmp_path / "mixed", latency=False, allow_mixed=True, workers=workers, **given
    )
    assert made.status == "PASS", made.reason
    kept = [layer.macs for layer in made.kept_float]
    assert kept in ([1024], [1024, 128], [128, 1024]), "the hard one, and at most the last one with it"
    assert made.kept_float[0].becomes == "float"
    assert made.kept_macs_share == sum(kept) / 3200, "of all four layers"
    assert any(note.startswith("kept in float: ") and "% of MACs)" in note for note in made.notes)
    in_float = [layer.shape for layer in made.audit.layers if "float" in layer.weight_type]
    assert sorted(in_float) == sorted((macs // 32, 32) for macs in kept)
    assert made.accuracy.samples == 1610


@pytest.mark.parametrize("target", TARGETS)
def test_the_costliest_layer_is_named_and_holds_the_loss(given: Any, workers: Workers, target: str) -> None:
    found = api.sensitivity(SOURCE, target, workers=workers, **given)
    assert sorted(layer.macs for layer in found.layers) == [128, 1024, 1024, 1024]
    assert (found.target, found.metric, found.samples) == (target, "top1", 690)
    assert "hard" in " ".join(found.layers[0].names) or target.startswith("onnx")  # the exporter names by operator
    worst, *others = found.layers
    assert worst.drop > 0.8 * found.whole.drop > 0.01, "its ranking holds the loss"
    assert worst.noise > 5 * max(layer.noise for layer in others)
    assert found.rest.noise < 0.1 * found.whole.noise


def test_as_json_with_a_picture_from_what_is_in_the_store(given: Any, tmp_path: Path) -> None:
    data = [word for side in ("calibrate", "evaluate") for word in (f"--{side}", given[side])]
    command = [sys.executable, "-m", "edgekit", "sensitivity", SOURCE, "--target", "onnxruntime-int8", "--trust"]
    drawn = tmp_path / "cost.svg"
    done = subprocess.run([*command, *data, "--plot", str(drawn), "--json"], capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert (found["status"], len(found["layers"])) == ("PASS", 4)
    assert drawn.read_text().count('id="ytick_') == 4, "a bar for each layer"
    refused = subprocess.run([*command, *data, "--plot", "cost.bmp"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert ".png, .svg, .pdf" in refused.stderr


def test_without_data_the_costs_are_said_to_be_estimates() -> None:
    asked = [SOURCE, "--target", "onnxruntime-int8-dynamic", "--trust"]
    done = subprocess.run([sys.executable, "-m", "edgekit", "sensitivity", *asked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "generated inputs (an estimate" in done.stdout


def test_a_budget_that_nothing_meets_says_what_was_reached(given: Any, workers: Workers, tmp_path: Path) -> None:
    asked = {**given, "latency": False, "allow_mixed": True, "workers": workers}
    small = edgekit.convert(SOURCE, "onnxruntime-int8", output=tmp_path / "a", budget="size=1kB", **asked)
    assert small.status == "FAILED"
    assert f"{small.size_bytes} bytes; the budget is size=1kB" in small.reason
    enough = edgekit.convert(SOURCE, "onnxruntime-int8", output=tmp_path / "b", budget="size=1MB", **asked)
    assert (enough.status, enough.size_bytes) == ("PASS", small.size_bytes)
    untimed = edgekit.convert(SOURCE, "onnxruntime-int8", output=tmp_path / "c", budget="latency=9x", **asked)
    assert "was not measured" in untimed.reason


def test_below_8_bits_the_hard_layer_is_kept_higher_with_the_weights_of_the_source(
    given: Any, workers: Workers, tmp_path: Path
) -> None:
    """GPTQ cannot mend it, and neither do 8 bits; what is handed out is held against the model as it was handed in."""
    asked = {**given, "latency": False, "workers": workers}
    plain = edgekit.convert(SOURCE, "tflite-int4", output=tmp_path / "plain", **asked)
    assert any("rounded by GPTQ" in note for note in plain.notes)
    assert plain.status in ("FAIL_ACCURACY", "FAIL_PARITY")
    made = edgekit.convert(SOURCE, "tflite-int4", output=tmp_path / "mixed", allow_mixed=True, **asked)
    assert made.status == "PASS", made.reason
    assert 1024 in [layer.macs for layer in made.kept_float]
    assert not any("GPTQ" in note for note in made.notes)
    types = {layer.weight_type for layer in made.audit.layers}
    assert "int4" in types and types <= {"int4", "int8", "float32"}


def test_an_output_of_two_ranges_stays_in_float(workers: Workers, tmp_path: Path, store: Store) -> None:
    """Pixels and shares in one tensor: in int8 they have one step, and the shares are nothing but it."""
    source = CHILDREN / "one_head.py"
    asked: dict[str, Any] = {"latency": False, "workers": workers, "trust": True, "store": store}
    asked["calibrate"] = f"{source}:numbers"
    plain = edgekit.convert(f"{source}:two_ranges", "tflite-int8", output=tmp_path / "plain", **asked)
    assert plain.status == "FAIL_PARITY", "else there is nothing to mend"
    made = edgekit.convert(f"{source}:two_ranges", "tflite-int8", output=tmp_path / "b", allow_mixed=True, **asked)
    assert (made.status, made.route) == ("PASS", "ptq-w8a8-quantizer-matmuls-float-outputs"), made.reason
    assert [tried.status for tried in made.routes_tried][:2] == ["FAIL_PARITY"] * 2
    assert made.audit.macs_quantized_share == 1
    [part] = made.parts.values()
    assert (part.inputs[0].dtype, part.outputs[0].dtype) == ("int8", "float32")
    [note] = [note for note in made.notes if note.startswith("mixed precision: ")]
    assert "outputs stayed float" in note and "LOGISTIC x2" in note, "what computes in float is named"
