"""Several parts with explicit state end to end: converted, proven as a closed loop, packaged, verified, inspected."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit import cli, toolchains, zoo
from edgekit.artifact import folder as artifact
from edgekit.data import tasks
from edgekit.jobs.workers import Workers
from edgekit.proof import execution
from edgekit.result import Result
from edgekit.schemes import SCHEMES
from edgekit.signature import State

sys.path.insert(0, str(Path(__file__).parent))
from watching import watching

NAMES = ["stage1", "stage2"]
CONFIG = zoo.architecture("denoiser_rnn").configs["tiny"]
TARGETS = [("torch", "onnxruntime-fp32"), pytest.param(("keras", "tflite-int8"), marks=pytest.mark.nightly)]


@pytest.fixture(scope="module")
def convert(tmp_path_factory, store):
    """Artifacts of two parts, each made once: in float from PyTorch, in full integer from Keras."""

    @functools.cache
    def artifact_of(framework: str, target: str) -> Result:
        folder = tmp_path_factory.mktemp("out") / "denoiser"
        with watching() as workers:
            result = edgekit.convert(
                f"denoiser_rnn@{framework}", target, output=folder, workers=workers, store=store, latency=False
            )
        assert result.status == "PASS", result.reason
        return result

    return artifact_of


@pytest.fixture(params=TARGETS, ids="-".join)
def made(request, convert) -> Result:
    return convert(*request.param)


def test_every_part_has_its_file_its_audit_and_its_parity_and_the_worst_is_on_top(made: Result) -> None:
    assert list(made.parts) == NAMES
    for name, part in made.parts.items():
        assert part.file.startswith(f"{name}/model.")
        assert part.audit.macs_total > 0
        assert part.parity is not None and set(part.parity.per_output) == {t.name for t in part.outputs}
    assert made.parity == min((p.parity for p in made.parts.values() if p.parity), key=lambda p: p.sqnr_db)
    assert made.size_bytes == sum(f.bytes for f in made.files if "model." in f.path)


def test_the_states_say_where_they_come_from_and_where_they_go(made: Result) -> None:
    assert list(made.state) == NAMES
    for name, states in made.state.items():
        assert [(s.output, s.input, s.initial) for s in states] == [
            ("next_hidden_0", "hidden_0", 0.0),
            ("next_cell_0", "cell_0", 0.0),
        ]
        assert {s.input for s in states} < {t.name for t in made.parts[name].inputs}
        assert {s.output for s in states} < {t.name for t in made.parts[name].outputs}
    assert made.artifact is not None
    text = (Path(made.artifact) / "README.md").read_text()
    assert "`stage2`: `next_cell_0` goes into `cell_0` of the next step" in text


def test_parity_is_of_a_hundred_steps_and_the_drift_is_stated(made: Result) -> None:
    for part in made.parts.values():
        assert part.parity is not None and part.parity.drift is not None
        assert part.parity.drift.steps >= 100
        assert part.parity.drift.last20_db > part.parity.drift.first20_db - 3, "the error grows on the way"


def test_accuracy_is_of_whole_clips(made: Result) -> None:
    assert made.accuracy is not None
    assert (made.accuracy.metric, made.accuracy.samples) == ("si_sdr", 1000)
    assert made.accuracy.float_ > 10
    assert made.accuracy.agreement is None
    assert abs(made.accuracy.drop) < 0.02


def test_verify_runs_every_part_again_and_finds_a_swapped_one(made: Result, tmp_path: Path, workers: Workers) -> None:
    assert made.artifact is not None
    found = artifact.verify(Path(made.artifact), workers)
    assert found["status"] == "PASS", found["reason"]
    copy = tmp_path / "copy"
    shutil.copytree(made.artifact, copy)
    (copy / "stage2" / "golden.npz").unlink()
    assert artifact.verify(copy, workers)["damaged"] == ["stage2/golden.npz"]


def test_inspect_shows_every_part(made: Result, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["inspect", str(made.artifact), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document["parts"]) == NAMES
    assert all(part["macs_total"] > 0 for part in document["parts"].values())
    assert cli.run(["inspect", str(made.artifact)]) == 0
    assert "part stage2" in capsys.readouterr().out


def test_golden_data_of_a_part_are_a_whole_sequence(made: Result) -> None:
    for part in made.parts.values():
        with np.load(Path(str(made.artifact)) / artifact.golden_of(part)) as stored:
            for tensor in part.inputs:
                assert stored[f"in/{tensor.name}"].shape[:2] == (1, 104)
            np.testing.assert_array_equal(stored["in/cell_0"][:, 1:], stored["out/next_cell_0"][:, :-1])
            assert stored["float/next_cell_0"].shape == stored["out/next_cell_0"].shape


def test_a_stage_with_its_states_swapped_is_caught(convert) -> None:
    """Both states have one shape: only running many steps tells them apart."""
    made = convert(*TARGETS[0])
    signatures = {part: CONFIG.signature("torch", part) for part in CONFIG.parts}
    sessions = {
        n: toolchains.open_session("onnx", Path(str(made.artifact)) / p.file, toolchains.Options(SCHEMES["fp32"]))
        for n, p in made.parts.items()
    }
    inputs = tasks.load("noisy_speech", "selection", 4).inputs
    right = execution.in_sequences(sessions, signatures, inputs, "noisy_speech")
    swapped = (State("next_hidden_0", "cell_0"), State("next_cell_0", "hidden_0"))
    signatures["stage1"] = replace(signatures["stage1"], state=swapped)
    wrong = execution.in_sequences(sessions, signatures, inputs, "noisy_speech")
    assert execution.compare_sequences(right.steps["stage1"], wrong.steps["stage1"]).sqnr_db < 10
    assert np.array_equal(right.steps["stage1"]["in/magnitude"], wrong.steps["stage1"]["in/magnitude"])
