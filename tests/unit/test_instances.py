"""Instance masks: their metric against boxes' and against its definition, their labels, and the code between parts."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.data import street, tasks
from edgekit.data.tasks import street_instances
from edgekit.errors import UsageError
from edgekit.proof.accuracy import measure_accuracy
from edgekit.proof.metrics import metric

SIZE = street.SIZE


def scored(labels, scores, masks) -> float:
    chosen = metric("mask_map")
    read = chosen.read({"scores": scores, "masks": masks}, labels)
    return chosen.value(chosen.score(labels, read))


def painted(boxes: np.ndarray) -> np.ndarray:
    """Masks ``(samples, n, 32, 32)`` of boxes of whole pixels."""
    at = np.arange(32)
    left, top, right, bottom = (boxes[..., k, None] for k in range(4))
    rows, columns = (at >= top) & (at < bottom), (at >= left) & (at < right)
    return rows[..., :, None] & columns[..., None, :]


@pytest.mark.parametrize("seed", range(4))
def test_of_rectangles_it_is_the_precision_of_boxes(seed: int) -> None:
    """One object and one or two detections in each quarter of the image, which no other one overlaps."""
    rng = np.random.default_rng(seed)
    n, corner = 40, np.array([[0, 0], [16, 0], [0, 16], [16, 16]])
    first = corner + rng.integers(1, 4, (n, 4, 2))
    objects = np.concatenate([first, first + rng.integers(6, 11, (n, 4, 2))], axis=-1)
    found = objects + rng.integers(-3, 4, objects.shape)
    found[..., 2:] = np.maximum(found[..., 2:], found[..., :2] + 1)
    found = np.clip(found, np.tile(corner, 2), np.tile(corner, 2) + 15)
    kinds = rng.integers(0, 3, (n, 4))
    scores = np.where(np.eye(3, dtype=bool)[(kinds + (rng.random((n, 4)) < 0.2)) % 3], 1.0, 0.0)
    scores *= rng.uniform(0.1, 0.9, (n, 4, 1))
    labels = np.where(painted(objects), (1000 * kinds + np.arange(4))[..., None, None], -1).max(axis=1)
    boxes = metric("map")
    rows = np.concatenate([kinds[..., None], objects], axis=-1)
    expected = boxes.value(boxes.score(rows, np.concatenate([found, scores], axis=-1)))
    assert 0.1 < expected < 0.9
    assert scored(labels, scores, painted(found).astype(float)) == pytest.approx(expected)


def test_a_second_mask_of_an_object_is_wrong_and_one_of_half_its_pixels_is_right() -> None:
    labels = np.full((1, 4, 4), -1)
    labels[0, :2] = 1002
    half = np.zeros((1, 2, 4, 4))
    half[:, :, 0] = 1
    second_is_surer = np.array([[[0.0, 0.6], [0.0, 0.9]]])
    assert scored(labels, second_is_surer, half) == 1.0
    half[0, 1] = 1  # all pixels: the surer one has an overlap of one half, too, and takes the object
    assert scored(labels, second_is_surer, half) == 1.0
    half[0, 1, 3] = 0
    half[0, 1, :2] = 0  # nothing of the object
    assert scored(labels, second_is_surer, half) == 0.5


def test_what_is_not_finite_is_no_detection() -> None:
    labels = np.zeros((40, 4, 4), int)
    scores, masks = np.ones((40, 1, 1)), np.ones((40, 1, 4, 4))
    chosen = metric("mask_map")
    good = chosen.read({"scores": scores, "masks": masks}, labels)
    accuracy = measure_accuracy("mask_map", [(labels, good, good * np.nan)])
    assert (accuracy.float_, accuracy.artifact, accuracy.trivial) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("labels", "scores", "masks", "message"),
    [
        (np.zeros((2, 4, 4)), (2, 3, 2), (2, 3, 4, 4), "whole numbers"),
        (np.full((2, 4, 4), 2000), (2, 3, 2), (2, 3, 4, 4), "from 2000 to 2000"),
        (np.zeros((2, 4, 4), int), (2, 3, 2), (2, 2, 4, 4), "of the same n"),
        (np.zeros((2, 8, 8), int), (2, 3, 2), (2, 3, 4, 4), "as many pixels as a label has"),
    ],
)
def test_what_does_not_fit_is_refused(labels, scores, masks, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        scored(labels, np.zeros(scores), np.zeros(masks))


def test_other_outputs_are_refused() -> None:
    with pytest.raises(UsageError, match="scores and masks; the model has boxes"):
        metric("mask_map").read({"boxes": np.zeros((1, 2, 4))}, np.zeros((1, 4, 4), int))


def test_a_label_says_of_each_pixel_which_object_is_seen() -> None:
    made = tasks.load("street_instances", "train", 300)
    again = tasks.load("street_instances", "train", 20)
    assert made.labels is not None and again.labels is not None
    assert np.array_equal(made.labels[:20], again.labels)
    assert np.array_equal(made.inputs["image"][:20], again.inputs["image"])
    numbers = np.unique(made.labels)
    assert set(numbers[numbers >= 0] // 1000) == {0, 1, 2}
    assert set(numbers[numbers >= 0] % 1000) == {0, 1, 2, 3}
    count = np.mean([len(np.unique(row[row >= 0])) for row in made.labels])
    assert 1.5 < count < 3.5


class Knowing:
    """Parts that know the objects: a map has a channel for each, on which the heads see where it is."""

    def __init__(self, labels: np.ndarray) -> None:
        numbers = np.arange(street.OBJECTS)
        self.masks = (np.where(labels < 0, -1, labels % 1000)[:, None] == numbers[:, None, None]) & (labels >= 0)[
            :, None
        ]
        self.kinds = np.where(self.masks, (labels // 1000)[:, None], -1).max(axis=(2, 3))

    def proposals(self, inputs):
        count = len(inputs["image"])
        anchors = street_instances.anchors()
        objectness, offsets = np.full((count, len(anchors), 1), -9.0), np.zeros((count, len(anchors), 4))
        for i, row in enumerate(self.masks):
            for number in np.flatnonzero(self.kinds[i] >= 0):
                y, x = np.nonzero(row[number])
                low, high = np.array([x.min(), y.min()]), np.array([x.max() + 1, y.max() + 1])
                place = 7 * number  # any anchor will do
                offsets[i, place, :2] = ((low + high) / 2 - anchors[place, :2]) / anchors[place, 2:]
                offsets[i, place, 2:] = np.log((high - low) / anchors[place, 2:])
                objectness[i, place] = 9 - number
        planes = np.moveaxis(self.masks, 1, -1).astype(np.float32)
        maps = {
            f"map_{i}": planes.reshape(count, grid, SIZE // grid, grid, SIZE // grid, -1).mean(axis=(2, 4))
            for i, grid in enumerate(street_instances.GRIDS[:3])
        }
        return {"objectness": objectness, "offsets": offsets, **maps}

    def box_head(self, inputs):
        seen = inputs["region"].mean(axis=(1, 2))
        self.seen = seen.argmax(axis=-1)
        kinds = np.where(seen.max(axis=-1) > 0.25, self.kinds[np.arange(len(seen)), self.seen], -1)
        return {"scores": 8.0 * np.eye(4)[kinds + 1], "offsets": np.zeros((len(seen), 3, 4))}

    def mask_head(self, inputs):
        region = inputs["region"]
        number = region.mean(axis=(1, 2)).argmax(axis=-1)
        own = np.take_along_axis(region, number[:, None, None, None], axis=-1)
        return {"masks": np.repeat(40 * np.kron(own, np.ones((1, 2, 2, 1))) - 20, 3, axis=-1)}


def test_parts_that_know_the_objects_find_them() -> None:
    made = tasks.load("street_instances", "selection", 100)
    assert made.labels is not None
    knowing = Knowing(made.labels)
    parts = {name: getattr(knowing, name) for name in ("proposals", "box_head", "mask_head")}
    outputs = street_instances.stream(parts, made.inputs)
    assert {name: array.shape[1:] for name, array in outputs.items()} == {
        "boxes": (6, 4), "scores": (6, 4), "masks": (6, 14, 14),
    }  # fmt: skip
    found = street_instances.postprocess(outputs)
    assert scored(made.labels, found["scores"], found["masks"]) > 0.9
