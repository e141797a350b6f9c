"""Noisy speech: disjoint splits, the same bytes each time, the ratios that it promises, and the code around a model."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgekit.data import tasks
from edgekit.data.tasks import noisy_speech
from edgekit.data.tasks.noisy_speech import FRAME, HOP, LAG, LENGTH, STEPS
from edgekit.proof.metrics import metric


@pytest.fixture(scope="module")
def selection():
    return tasks.load("noisy_speech", "selection")


def test_shapes_and_levels(selection) -> None:
    noisy, clean = selection.inputs["noisy"], selection.labels
    assert noisy.shape == (128, LENGTH) and clean.shape == (128, LENGTH - LAG)
    assert noisy.dtype == clean.dtype == np.float32
    assert STEPS >= 100
    assert np.abs(noisy).max() <= 1
    assert (np.rint(noisy * 2**15) == noisy * 2**15).all(), "16 bits"
    assert np.abs(clean).max(axis=1).min() > 0.01, "a clip without speech"
    ratios = metric("si_sdr").contributions(clean, noisy[:, : LENGTH - LAG])
    low, high = noisy_speech.SNR_DB
    assert low - 1.5 < ratios.min() < low + 2 and high - 2 < ratios.max() < high + 1.5
    assert 1.5 < ratios.mean() < 4.5


def test_splits_are_disjoint_and_a_short_request_is_the_beginning_of_a_long_one(selection) -> None:
    seen = {sample.tobytes() for sample in selection.inputs["noisy"]}
    for split in ("train", "calibration", "test"):
        made = tasks.load("noisy_speech", split, 3)
        assert not seen.intersection(sample.tobytes() for sample in made.inputs["noisy"])
        seen |= {sample.tobytes() for sample in made.inputs["noisy"]}
    short = tasks.load("noisy_speech", "selection", 7)
    np.testing.assert_array_equal(short.inputs["noisy"], selection.inputs["noisy"][:7])
    np.testing.assert_array_equal(short.labels, selection.labels[:7])


def test_the_same_bytes_on_every_machine(selection) -> None:
    content = selection.inputs["noisy"].tobytes() + selection.labels.tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "2424353ae94817ed"


def test_a_model_that_changes_nothing_gives_the_clip_back(selection) -> None:
    """Every sample lies in FRAME / HOP frames, so frames divided by that overlap to the clip itself."""
    noisy = selection.inputs["noisy"][:3]
    seen = []

    def stage1(inputs):
        seen.append(inputs["magnitude"])
        return {"mask": np.ones_like(inputs["magnitude"])}

    def stage2(inputs):
        return {"enhanced_frame": inputs["frame"] * (HOP / FRAME)}

    found = noisy_speech.stream({"stage1": stage1, "stage2": stage2}, {"noisy": noisy})["enhanced"]
    np.testing.assert_allclose(found, noisy[:, : LENGTH - LAG], atol=1e-6)
    assert len(seen) == STEPS and seen[0].shape == (3, FRAME // 2 + 1)
