"""The image tasks: disjoint splits, the same bytes each time, short requests are beginnings of long ones."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

from edgekit.data import tasks
from edgekit.data.tasks import digits
from edgekit.errors import UsageError

VISION = ["digits", "digits32", "texture_segments", "textures"]
SHAPES = {"digits": (8, 8, 1), "digits32": (32, 32, 1), "texture_segments": (32, 32, 3), "textures": (32, 32, 3)}


@pytest.mark.parametrize("name", VISION)
def test_splits_are_disjoint_and_complete(name: str) -> None:
    seen: dict[bytes, str] = {}
    for split, size in tasks.task(name).sizes.items():
        samples = tasks.load(name, split)
        image, labels = samples.inputs["image"], samples.labels
        assert labels is not None
        assert image.shape == (size, *SHAPES[name])
        assert image.dtype == np.float32
        assert labels.dtype == np.int64
        assert labels.shape == ((size, 32, 32) if tasks.task(name).metric == "miou" else (size,))
        assert image.min() >= -1
        assert image.max() <= 1
        for sample in image:
            assert seen.setdefault(sample.tobytes(), split) == split
    assert len(seen) == sum(tasks.task(name).sizes.values()), "a sample appears twice"


@pytest.mark.parametrize("name", VISION)
def test_classes_are_balanced(name: str) -> None:
    task = tasks.task(name)
    labels = tasks.load(name, "test").labels
    assert labels is not None
    counts = np.bincount(labels.ravel(), minlength=task.classes)
    assert len(counts) == task.classes
    assert counts.min() > 0.8 * counts.mean()


@pytest.mark.parametrize("name", VISION)
def test_a_short_request_is_the_beginning_of_a_long_one(name: str) -> None:
    short, long = tasks.load(name, "selection", 7), tasks.load(name, "selection", 290)
    assert short.labels is not None
    assert long.labels is not None
    np.testing.assert_array_equal(short.inputs["image"], long.inputs["image"][:7])
    np.testing.assert_array_equal(short.labels, long.labels[:7])


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("digits", "b2015497c6ec0402"),
        ("digits32", "bb652ec347d77988"),
        ("texture_segments", "aef1aef196717b18"),
        ("textures", "89d5bde7c4de5e6d"),
    ],
)
def test_bytes_are_the_same_everywhere(name: str, digest: str) -> None:
    samples = tasks.load(name, "test", 64)
    assert samples.labels is not None
    found = hashlib.sha256(np.ascontiguousarray(samples.inputs["image"]).tobytes() + samples.labels.tobytes())
    assert found.hexdigest()[:16] == digest


@pytest.mark.parametrize("name", ["textures", "texture_segments"])
def test_2000_samples_are_made_in_time(name: str) -> None:
    start = time.process_time()
    tasks.load(name, "test", 2000)
    assert time.process_time() - start < 3


@pytest.mark.parametrize("name", VISION)
def test_too_many_samples_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="were asked for"):
        tasks.load(name, "calibration", tasks.task(name).sizes["calibration"] + 1)


@pytest.mark.parametrize("name", ["textures", "texture_segments"])
def test_finer_comparisons_begin_with_what_conversions_are_scored_on(name: str) -> None:
    scored, finer = tasks.load(name, "test"), tasks.load(name, "test", 2250)
    assert len(scored.inputs["image"]) == 2000 and len(finer.inputs["image"]) == 2250
    np.testing.assert_array_equal(scored.inputs["image"], finer.inputs["image"][:2000])
    assert scored.labels is not None and finer.labels is not None
    np.testing.assert_array_equal(scored.labels, finer.labels[:2000])
    with pytest.raises(UsageError, match="8001 were asked for"):
        tasks.load(name, "test", 8001)


def test_enlarged_digits_keep_the_original() -> None:
    small, large = (tasks.load(name, "test", 20).inputs["image"] for name in ("digits", "digits32"))
    # the mean over each 4x4 cell is the pixel, pulled a little towards its neighbours
    cells = large.reshape(20, 8, 4, 8, 4, 1).mean((2, 4))
    assert np.corrcoef(cells.ravel(), small.ravel())[0, 1] > 0.97
    # half-pixel centres: a corner lies outside of the outermost centres on both axes, and repeats the pixel
    np.testing.assert_array_equal(large[:, 0, 0], small[:, 0, 0])
    # 3/8 from the first centre towards the second
    np.testing.assert_allclose(large[:, 0, 3], small[:, 0, 0] * 0.625 + small[:, 0, 1] * 0.375, atol=1e-7)


def test_digits_come_from_the_whole_set() -> None:
    assert sum(digits.TASK.sizes.values()) == 1797
