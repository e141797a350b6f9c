"""Pictures in a style: the task that asks for them, and the metric that has no right answer to compare with."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgekit.data import tasks
from edgekit.data.tasks import stylized
from edgekit.proof.metrics import metric

STYLIZATION = metric("stylization")
SAMPLES = tasks.load("stylized", "selection", 20)
LABELS = SAMPLES.labels
assert LABELS is not None
CONTENT, STYLE = LABELS[:, 0].astype(np.float64), LABELS[:, 1].astype(np.float64)


def value(answer: np.ndarray, labels: np.ndarray = LABELS) -> float:
    return STYLIZATION.value(STYLIZATION.score(labels, answer))


def test_what_has_only_one_of_both_is_worth_little() -> None:
    assert value(CONTENT) < 0.4
    assert value(STYLE) < 0.1
    # Two pictures laid over each other are not one in the other's style.
    assert max(value(share * CONTENT + (1 - share) * STYLE) for share in (0.3, 0.5, 0.7)) < 0.45


def test_a_scene_that_is_its_own_style_is_all_that_is_asked() -> None:
    own = np.stack([CONTENT, CONTENT], axis=1)
    assert value(CONTENT, own) == pytest.approx(1.0)
    assert value(-CONTENT, own) == 0.0, "what was bright is dark: edges are the wrong way"
    assert value(CONTENT[:, :, ::-1], own) < 0.5, "edges are elsewhere"


def test_style_is_the_same_wherever_its_strokes_lie() -> None:
    at = np.arange(32)
    waves = np.sin(2 * np.pi * (at[:, None] + at) / 4)[None, :, :, None] * [0.9, 0.5, -0.4]
    scene = np.where(at < 16, -1.0, 1.0)[None, None, :, None] * np.ones((1, 32, 1, 3))
    found = [value(0.2 * scene + np.roll(waves, by, axis=2), np.stack([scene, waves], axis=1)) for by in range(4)]
    assert min(found) > 0.8
    assert np.ptp(found) < 0.02
    grey = np.repeat(waves.mean(axis=-1, keepdims=True), 3, axis=-1)
    assert value(0.2 * scene + grey, np.stack([scene, waves], axis=1)) < 0.6, "the colours are part of it"


def test_it_falls_with_noise_and_is_nothing_where_an_answer_is_broken() -> None:
    own = np.stack([CONTENT, CONTENT], axis=1)
    noise = np.random.default_rng(0).standard_normal(CONTENT.shape)
    falls = [value(CONTENT + strength * noise, own) for strength in (0.0, 0.02, 0.05, 0.2)]
    assert falls == sorted(falls, reverse=True)
    assert falls[1] < 0.995
    broken = CONTENT.copy()
    broken[:10, 0, 0, 0] = np.nan
    assert value(broken, own) == pytest.approx(0.5)
    assert value(np.zeros_like(CONTENT), own) == 0.0


def test_channels_may_come_second() -> None:
    first = np.moveaxis(CONTENT, -1, 1)
    np.testing.assert_array_equal(STYLIZATION.read({"stylized": first}, LABELS), CONTENT)


def test_the_task_gives_everyone_the_same_painting_and_nobody_twice() -> None:
    seen = set()
    for split, size in stylized.TASK.sizes.items():
        made = stylized.make(split)
        images, labels = made.inputs["image"], made.labels
        assert labels is not None
        assert (images.shape, images.dtype) == ((size, 48, 48, 3), np.float32)
        assert (labels.shape, labels.dtype) == ((size, 2, 48, 48, 3), np.float32)
        assert labels.min() >= -1 and labels.max() <= 1
        np.testing.assert_array_equal(labels[:, 0], images)
        assert (labels[:, 1] == stylized.painting()).all()
        seen |= {image.tobytes() for image in images}
    assert len(seen) == sum(stylized.TASK.sizes.values())


def test_bytes_are_the_same_everywhere() -> None:
    samples = stylized.make("test", 7)
    assert samples.labels is not None
    assert hashlib.sha256(samples.labels.tobytes()).hexdigest()[:16] == "48cf0dc9f0d575cb"
    np.testing.assert_array_equal(samples.labels, stylized.make("test", 260).labels[:7])
