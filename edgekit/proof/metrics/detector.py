"""Average precision of a detector: boxes or masks, and a confidence per class, against the objects that there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data import detection
from edgekit.errors import UsageError
from edgekit.proof.intervals import OfMeans
from edgekit.proof.metrics.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Shape = tuple[int, ...]

#: Edges between the groups of detections that ``map`` takes for equally sure: confidences from ``MAP_SCORE_MIN`` to
#: almost 1 in even steps of 0.1 of their logit. Right and wrong ones of a group enter the curve together, as ties do;
#: that takes less than 0.01 off the exact mean average precision of a mediocre detector (tests/unit/test_detection.py).
#: It does not take the same off both models: of the zoo's SSD from Keras 0.0024 off the float one and 0.0048 off the
#: int8 LiteRT file (1000 samples), so that a drop of 0.0016 is told as 0.0040.
MAP_SCORE_MIN = 0.01
MAP_EDGES = 1 / (1 + np.exp(-np.linspace(-4.5, 8.1, 127)))
_GROUPS = len(MAP_EDGES) + 1

#: Boxes of an image that go into suppression at most: eight for every object that an image may have, or one in sixteen
#: of those that the model gives, so that the many boxes of one object leave room for the others.
_MOST = 600


def _boxes_and_scores(outputs: Mapping[str, Array], labels: Array) -> Array:
    """``boxes`` (samples, n, 4), corners, and ``scores`` (samples, n, classes) side by side: one row per box."""
    missing = {"boxes", "scores"} - outputs.keys()
    if missing:
        raise UsageError(
            f"map scores the outputs boxes and scores; the model has {', '.join(outputs)}",
            hint="Say which they are: --outputs NAME=boxes --outputs NAME=scores (see `edgekit convert --help`).",
        )
    boxes, scores = outputs["boxes"], outputs["scores"]
    if boxes.ndim != 3 or scores.ndim != 3 or boxes.shape[:2] != scores.shape[:2] or boxes.shape[2] != 4:
        raise UsageError(
            f"boxes have shape {boxes.shape} and scores {scores.shape}; needed: (samples, n, 4) and "
            "(samples, n, classes) of the same n"
        )
    return np.concatenate([boxes, scores], axis=-1)


def _detected(scored: Array) -> NDArray[np.int64]:
    """Class of each box, the number of classes where no confidence reaches one half; -1 where it is not finite."""
    confidences = scored[..., 4:].astype(np.float64)
    found = np.where(confidences.max(axis=-1) < 0.5, confidences.shape[-1], confidences.argmax(axis=-1))
    return np.where(np.isfinite(scored.astype(np.float64)).all(axis=-1), found, -1).astype(np.int64)


def _check(labels: Array, shape: Shape) -> None:
    if labels.dtype.kind not in "iuf" or labels.ndim != 3 or labels.shape[2] != 5:
        raise UsageError(
            f"labels are {labels.dtype} of shape {labels.shape}; map needs numbers (samples, objects, 5)",
            hint="One row per object: class, left, top, right, bottom in pixels; rows of -1 fill up.",
        )
    classes = shape[-1] - 4
    if len(shape) != 3 or classes < 1 or shape[0] != len(labels) or not len(labels):
        raise UsageError(
            f"boxes and scores have shape {shape} for {len(labels)} samples; "
            "needed: one row of 4 corners and the classes' confidences per box, at least one sample"
        )
    numbers = labels[..., 0].astype(np.float64)
    low, high = (float(end(numbers)) if numbers.size else -1.0 for end in (np.min, np.max))
    if low < -1 or high >= classes or (numbers != np.floor(numbers)).any():
        raise UsageError(
            f"labels range from class {low:g} to {high:g}; allowed: whole numbers from 0 to {classes - 1}, and -1 for "
            "padding"
        )


def _contributions(labels: Array, scored: Array) -> Floats:
    """Per sample and class: right detections per group, wrong ones per group (surest first), objects.

    Suppression and matching stay within an image; only the order by confidence is across images. So counts per group
    of equal confidence are enough, and their sums give the precision-recall curve.
    """
    values = scored.astype(np.float64)
    most = min(_MOST, max(32, 8 * labels.shape[1], values.shape[1] // 16))
    found = detection.suppress(values[..., :4], values[..., 4:], score_min=MAP_SCORE_MIN, most=most)
    right = detection.match(found, labels)
    return grouped(found.scores, found.classes, right, per_class(labels[..., 0], scored.shape[-1] - 4))


def grouped(scores: Floats, kinds: NDArray[np.int64], right: NDArray[np.bool_], objects: NDArray[np.int64]) -> Floats:
    """Per sample and class: right detections per group, wrong ones per group, objects ``(samples, classes)``."""
    samples, classes = objects.shape
    group = _GROUPS - 1 - np.digitize(scores, MAP_EDGES)
    column = (np.arange(samples)[:, None] * classes + kinds) * _GROUPS + group

    def count(where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(column[where], minlength=samples * classes * _GROUPS).reshape(samples, -1)

    rows = [count(right), count((scores > 0) & ~right), objects]
    return np.concatenate(rows, axis=1).astype(np.float64)


def per_class(kinds: Array, classes: int) -> NDArray[np.int64]:
    """How many objects of each class a sample has, of the classes of its objects ``(samples, objects)``."""
    found: NDArray[np.int64] = (kinds[..., None].astype(np.int64) == np.arange(classes)).sum(axis=1)
    return found


def nothing_of(objects: NDArray[np.int64]) -> Floats:
    """Contributions of no detection at all."""
    samples, classes = objects.shape
    return np.concatenate([np.zeros((samples, 2 * classes * _GROUPS)), objects], axis=1)


def _nothing(labels: Array, shape: Shape, inputs: Callable[[], Mapping[str, Array]]) -> Floats:
    return nothing_of(per_class(labels[..., 0], shape[-1] - 4))


def _check_confidences(scored: Array) -> None:
    """Refuse confidences that are none: suppression and groups take them within 0..1."""
    low, high = float(scored[..., 4:].min()), float(scored[..., 4:].max())
    if low < 0 or high > 1:
        raise UsageError(
            f"map takes confidences within 0..1, and the scores go from {low:.3g} to {high:.3g}",
            hint="--outputs NAME=scores-logit applies the sigmoid.",
        )


def mean_precision(means: Floats) -> Floats:
    """Mean average precision at an overlap of one half, over the classes that occur (PASCAL VOC, all points)."""
    classes = means.shape[-1] // (2 * _GROUPS + 1)
    counts, objects = means[..., :-classes], means[..., -classes:]
    right, wrong = np.moveaxis(counts.reshape(*means.shape[:-1], 2, classes, _GROUPS), -3, 0)
    areas = detection.average_precision(right, wrong, objects)
    mean: Floats = areas.sum(axis=-1) / np.maximum((objects > 0).sum(axis=-1), 1)
    return mean


MAP = Metric(
    "map",
    "boxes and scores of a detector (mean average precision at an overlap of one half)",
    True,
    "map",
    labels="objects: COCO's JSON in the folder of images, or (samples, objects, 5): class, left, top, right, bottom",
    binary=False,
    bounded=True,
    check=_check,
    contributions=_contributions,
    trivial=_nothing,
    statistic=functools.partial(OfMeans, function=mean_precision),
    read=_boxes_and_scores,
    decisions=_detected,
    check_values=_check_confidences,
)
