"""A user's PyTorch function that says what it hands to its next step: proven, packaged and run as a closed loop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.artifact import folder as artifact
from edgekit.errors import UsageError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Result

CHILDREN = Path(__file__).parent / "children"
RUNTIMES = {"onnxruntime-fp32": "onnx", "tflite-fp32": "litert"}
SHAPE = (2, 1, 64)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("states")
    shutil.copy(CHILDREN / "state_models.py", folder)
    return folder


@pytest.fixture(scope="module", params=RUNTIMES)
def made(request: pytest.FixtureRequest, home: Path, workers: Workers, store: Store) -> tuple[str, Result]:
    result = edgekit.convert(
        f"{home}/state_models.py:from_a_tensor",
        request.param,
        output=home / request.param,
        latency=False,
        workers=workers,
        store=store,
    )
    assert result.status == "PASS", result.reason
    return request.param, result


def test_the_loop_is_closed_over_a_hundred_steps_from_the_tensor_that_was_said(made: tuple[str, Result]) -> None:
    _, result = made
    [part] = result.parts.values()
    assert part.parity is not None and part.parity.drift is not None
    assert part.parity.drift.steps >= 100
    assert part.parity.drift.last20_db > 90
    [state] = result.state["model"]
    assert (state.output, state.input) == ("next", "state")
    np.testing.assert_allclose(state.initial, np.linspace(-0.9, 0.9, 128), atol=1e-6)  # as torch.linspace rounds
    assert {t.name: t.shape for t in part.inputs}["state"] == SHAPE


def test_the_golden_data_begin_with_it_and_are_run_again(made: tuple[str, Result], workers: Workers) -> None:
    folder = Path(str(made[1].artifact))
    with np.load(folder / artifact.GOLDEN) as stored:
        np.testing.assert_array_equal(stored["in/state"][0, 0].ravel(), np.float32(made[1].state["model"][0].initial))
        np.testing.assert_array_equal(stored["in/state"][:, 1:], stored["out/next"][:, :-1])
    found = artifact.verify(folder, workers)
    assert found["status"] == "PASS", found["reason"]
    assert "128 values" in (folder / "README.md").read_text()


def test_a_manifest_with_another_first_value_does_not_verify(
    made: tuple[str, Result], workers: Workers, tmp_path: Path
) -> None:
    """The golden outputs come of the tensor."""
    copy = tmp_path / "copy"
    shutil.copytree(str(made[1].artifact), copy)
    document = json.loads((copy / "manifest.json").read_text())
    for initial, status in ((document["state"]["model"][0]["initial"], "PASS"), (0.0, "FAIL_PARITY")):
        document["state"]["model"][0]["initial"] = initial
        (copy / "manifest.json").write_text(json.dumps(document))
        (copy / "manifest.sha256").write_text(artifact.contents.seal_of(copy))
        assert artifact.verify(copy, workers)["status"] == status


def test_by_the_vendor_s_own_api_and_the_manifest_it_is_pytorch_s_own_loop(made: tuple[str, Result]) -> None:
    target, result = made
    folder = Path(str(result.artifact))
    command = [sys.executable, str(CHILDREN / "states_by_hand.py"), str(folder / result.parts["model"].file)]
    command += [RUNTIMES[target], str(folder / "manifest.json")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, last = json.loads(done.stdout.splitlines()[-1])
    assert first < 1e-5 and last < 1e-5


@pytest.mark.parametrize(("function", "initial"), [("from_ones", 1.0), ("from_zero", 0.0)])
def test_a_number_stays_a_number(
    function: str, initial: float, home: Path, workers: Workers, store: Store, tmp_path: Path
) -> None:
    source = f"{home}/state_models.py:{function}"
    result = edgekit.convert(
        source, "onnxruntime-fp32", output=tmp_path / "out", latency=False, workers=workers, store=store
    )
    assert result.status == "PASS", result.reason
    document = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert document["state"]["model"] == [{"output": "next", "input": "state", "initial": initial}]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("misnamed", "'last' cannot go into 'state'; inputs are x, state, outputs y, next"),
        ("unlike", r"'y' is float32 \(1, 3\), 'state' is float32 \(2, 1, 64\)"),
        ("misshapen", r"'state' begins with \(64,\); it has shape \(2, 1, 64\)"),
        ("infinite", "NaN or infinity"),
    ],
)
def test_what_cannot_be_a_state_is_refused(
    function: str, says: str, home: Path, workers: Workers, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        edgekit.convert(
            f"{home}/state_models.py:{function}",
            "onnxruntime-fp32",
            output=tmp_path / "out",
            workers=workers,
            store=store,
        )
