"""Shapes are kept: a first axis is a batch where the model declares one, and else a part of the sample."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import edgekit
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Result
from tests.contract.conftest import of_this_run, parameters

CHILDREN = Path(__file__).parent / "children"
RUNTIMES = {
    "onnxruntime-fp32": "onnx",
    "tensorrt-fp32": "onnx",
    "openvino-fp32": "openvino",
    "tflite-fp32": "litert",
    "executorch-fp32": "executorch",
    "coreml-fp32": "coreml",
    "onnxruntime-int8": "onnx",
    "tflite-int8": "litert",
}
#: Example shapes and samples of each model.
MODELS = {
    "table": ({"table": (16, 8)}, "tables"),
    "states": ({"x": (1, 5, 6), "h0": (2, 1, 64), "c0": (2, 1, 64)}, "sequences"),
}
#: States as other inputs are handed in by the same code of the format; left to `make nightly`.
LATE = {("states", name) for name in ("coreml-fp32", "executorch-fp32", "tensorrt-fp32")}
CASES = parameters(itertools.product(MODELS, RUNTIMES), LATE.__contains__)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("axes")
    shutil.copy(CHILDREN / "axes_models.py", folder)
    return folder


@pytest.fixture(scope="module")
def results(
    home: Path, workers: Workers, store: Store, request: pytest.FixtureRequest
) -> dict[tuple[str, str], Result]:
    """Every model for every target, of this run."""
    found = {}
    for function, target in sorted({(p["function"], p["target"]) for p in of_this_run(request, __file__)}):
        calibrate = f"{home}/axes_models.py:{MODELS[function][1]}" if target.endswith("int8") else None
        found[function, target] = edgekit.convert(
            f"{home}/axes_models.py:{function}",
            target,
            calibrate=calibrate,
            output=home / f"{function}-{target}",
            latency=False,
            workers=workers,
            store=store,
        )
    return found


@pytest.fixture(scope="module")
def by_hand(results: dict[tuple[str, str], Result], printed: Callable[..., str]) -> dict[str, dict[str, float]]:
    """What each file that was handed out gives on the model's own example, beside PyTorch's answer."""
    asked = {
        f"{function} {target}": (function, RUNTIMES[target], f"{found.artifact}/{found.parts['model'].file}")
        for (function, target), found in results.items()
        if found.artifact is not None
    }
    program = "import axes_by_hand, json, sys; axes_by_hand.main(json.loads(sys.argv[1]))"
    said = printed(program, json.dumps(asked), environment="torch")
    errors: dict[str, dict[str, float]] = json.loads(said.splitlines()[-1])
    return errors


@pytest.mark.parametrize(("function", "target"), CASES)
def test_a_file_takes_what_its_model_takes(
    results: dict[tuple[str, str], Result], by_hand: dict[str, dict[str, float]], function: str, target: str
) -> None:
    result = results[function, target]
    assert result.status == "PASS", result.reason
    shapes, _ = MODELS[function]
    assert {t.name: t.shape for t in result.parts["model"].inputs} == shapes
    fixed = [f"Axis 0 of input '{name}' is fixed to {shape[0]}, as in its example" for name, shape in shapes.items()]
    for note, shape in zip(fixed, shapes.values(), strict=True):
        assert any(said.startswith(note) for said in result.notes) == (shape[0] > 1)
    errors = by_hand[f"{function} {target}"]
    assert max(errors.values()) < (0.25 if target.endswith("int8") else 1e-5), errors
