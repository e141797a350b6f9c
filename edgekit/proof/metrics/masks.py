"""Average precision of instance masks: the pixels of each detection, and a confidence per class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data import detection
from edgekit.data.detection import UNIT
from edgekit.errors import UsageError
from edgekit.proof.intervals import OfMeans
from edgekit.proof.metrics import detector
from edgekit.proof.metrics.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Shape = tuple[int, ...]


def _scores_and_masks(outputs: Mapping[str, Array], labels: Array) -> Array:
    """``scores`` (samples, n, classes) and ``masks`` (samples, n, height, width) side by side: a row per detection."""
    missing = {"scores", "masks"} - outputs.keys()
    if missing:
        raise UsageError(f"mask_map scores the outputs scores and masks; the model has {', '.join(outputs)}")
    scores, masks = outputs["scores"], outputs["masks"]
    if scores.ndim != 3 or masks.ndim != 4 or scores.shape[:2] != masks.shape[:2]:
        raise UsageError(
            f"scores have shape {scores.shape} and masks {masks.shape}; needed: (samples, n, classes) and "
            "(samples, n, height, width) of the same n"
        )
    return np.concatenate([scores, masks.reshape(*masks.shape[:2], -1)], axis=-1)


def _classes(labels: Array, shape: Shape) -> int:
    return shape[-1] - int(np.prod(labels.shape[1:]))


def _check(labels: Array, shape: Shape) -> None:
    if labels.dtype.kind not in "iu" or labels.ndim != 3:
        raise UsageError(
            f"labels are {labels.dtype} of shape {labels.shape}; mask_map needs whole numbers (samples, height, width)",
            hint=f"Of each pixel {UNIT} times the class of its object plus the object's number; -1 for none.",
        )
    classes = _classes(labels, shape)
    if len(shape) != 3 or classes < 1 or shape[0] != len(labels) or not len(labels):
        raise UsageError(
            f"scores and masks have shape {shape} for labels {labels.shape}; needed: per detection one confidence for "
            "each class and as many pixels as a label has, at least one sample"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < -1 or high >= UNIT * classes:
        raise UsageError(
            f"labels range from {low} to {high}; allowed: {UNIT} times the class, of {classes}, plus the object's "
            f"number up to {UNIT - 1}, and -1 for no object"
        )


def _objects(labels: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Classes ``(samples, objects)``, -1 fills up, and pixels ``(samples, objects, height * width)``."""
    rows = labels.astype(np.int64).reshape(len(labels), -1)
    found = [np.unique(row[row >= 0]) for row in rows]
    numbers = np.full((len(rows), max(1, *map(len, found))), -1)
    for row, own in zip(numbers, found, strict=True):
        row[: len(own)] = own
    masks = (rows[:, None] == numbers[..., None]) & (numbers >= 0)[..., None]
    return np.where(numbers < 0, -1, numbers // UNIT), masks


def _contributions(labels: Array, scored: Array) -> Floats:
    """As ``map``'s, of masks: what is more likely than not is inside; overlap is counted in pixels."""
    classes = _classes(labels, scored.shape)
    values = scored.astype(np.float64)
    finite = np.isfinite(values).all(axis=-1)
    best = np.where(finite, values[..., :classes].max(axis=-1), 0.0)
    order = np.argsort(-best, axis=1, kind="stable")
    best, values = np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order[..., None], axis=1)
    best *= best >= detector.MAP_SCORE_MIN
    chosen = np.where(np.isfinite(values[..., :classes]), values[..., :classes], -1).argmax(axis=-1)
    kinds, objects = _objects(labels)
    inside = (values[..., classes:] > 0.5).astype(np.float32)
    shared = inside @ np.swapaxes(objects, 1, 2).astype(np.float32)
    union = inside.sum(axis=-1)[..., None] + objects.sum(axis=-1)[:, None] - shared
    overlaps = np.where(chosen[..., None] == kinds[:, None], shared / np.maximum(union, 1), -1.0)
    right = detection.match_overlaps(best, overlaps)
    return detector.grouped(best, chosen, right, detector.per_class(kinds, classes))


def _nothing(labels: Array, shape: Shape, inputs: Callable[[], Mapping[str, Array]]) -> Floats:
    return detector.nothing_of(detector.per_class(_objects(labels)[0], _classes(labels, shape)))


def _check_confidences(scored: Array) -> None:
    low, high = float(scored.min()), float(scored.max())
    if low < 0 or high > 1:
        raise UsageError(
            f"mask_map takes confidences and chances within 0..1, and scores and masks go from {low:.3g} to {high:.3g}",
            hint="Return the softmax of scores and the sigmoid of masks.",
        )


MASK_MAP = Metric(
    "mask_map",
    "scores and masks of an instance segmenter (mean average precision at an overlap of one half, in pixels)",
    True,
    "map",
    labels="objects: (samples, height, width), of each pixel 1000 times the class plus the object's number, -1 is none",
    binary=False,
    bounded=True,
    check=_check,
    contributions=_contributions,
    trivial=_nothing,
    statistic=functools.partial(OfMeans, function=detector.mean_precision),
    read=_scores_and_masks,
    decisions=None,
    check_values=_check_confidences,
)
