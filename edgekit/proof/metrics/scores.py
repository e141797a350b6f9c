"""Metrics of one score per sample against two classes: how well it orders them, at any threshold."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof.intervals import OfWeights
from edgekit.proof.metrics.classes import check_two
from edgekit.proof.metrics.metric import OF_TWO, Metric, first_output

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Shape = tuple[int, ...]
    #: Shares of the positive and of the negative samples at each score, from the lowest, ``(k, scores)`` -> figures.
    OfCurve = Callable[[Floats, Floats], Floats]


def _one_unit(outputs: Mapping[str, Array], labels: Array) -> Array:
    """The first output as one value per sample; of two classes, by how much the second one is larger."""
    found = first_output(outputs, labels)
    if found.ndim == 2 and found.shape[1] == 1:
        return found[:, 0]
    if found.ndim == 2 and found.shape[1] == 2:
        # Minus infinity in both would be no number, which is what such a sample is.
        with np.errstate(invalid="ignore"):
            return found[:, 1].astype(np.float64) - found[:, 0].astype(np.float64)
    return found


def _check_both(name: str, labels: Array) -> None:
    if len(np.unique(labels)) < 2:
        raise UsageError(
            f"{name} needs samples of both classes, and the labels of the {len(labels)} samples are alike",
            hint="Give more labelled samples: they are shared out, and each share needs both classes.",
        )


def _scored(labels: Array, values: Array) -> Floats:
    scores = np.where(np.isnan(values), -np.inf, values).astype(np.float64)
    return np.stack([scores, labels.astype(np.float64)], axis=1)


def _no_order(labels: Array, shape: Shape, inputs: Callable[[], Mapping[str, Array]]) -> Floats:
    return _scored(labels, np.zeros(len(labels)))


def _of_curve(function: OfCurve, samples: Floats) -> OfWeights:
    """A figure of the ROC curve of rows of a score and a label; one half where one of the two classes is missing.

    The scores are sorted once: one pass over them gives the curve for any weights.
    """
    order = np.argsort(samples[:, 0], kind="stable")
    scores, positive = samples[order, 0], samples[order, 1] > 0
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))

    def figures(weights: Floats) -> Floats:
        ordered = weights[:, order]
        sides = [np.add.reduceat(ordered * side, starts, axis=1) for side in (positive, ~positive)]
        totals = [side.sum(axis=1, keepdims=True) for side in sides]
        found = function(*(side / np.maximum(total, 1) for side, total in zip(sides, totals, strict=True)))
        return np.where((totals[0] > 0)[:, 0] & (totals[1] > 0)[:, 0], found, 0.5)

    return OfWeights(len(samples), figures)


def _area(positive: Floats, negative: Floats) -> Floats:
    """Share of pairs of a positive and a negative sample that the score orders rightly; ties count one half.

    That is the area under the ROC curve (Hanley & McNeil 1982, Radiology 143:29-36).
    """
    below = np.cumsum(negative, axis=1) - negative / 2
    area: Floats = (positive * below).sum(axis=1)
    return area


def _equal_errors(positive: Floats, negative: Floats) -> Floats:
    """The error at the threshold at which both classes are taken for the other one equally often.

    A threshold that is raised over one score after the other misses more of the positive and accepts fewer of the
    negative samples. Where the two rates cross between two thresholds, the ROC curve is taken for straight, as it is
    drawn (Fawcett 2006, An introduction to ROC analysis, Pattern Recognition Letters 27:861-874). The figure is that
    of Martin et al. 1997, The DET curve in assessment of detection task performance, Eurospeech 4:1895-1898.
    """
    start = np.zeros((len(positive), 1))
    missed = np.concatenate([start, np.cumsum(positive, axis=1)], axis=1)
    accepted = 1 - np.concatenate([start, np.cumsum(negative, axis=1)], axis=1)
    after = np.argmax(missed - accepted >= -1e-12, axis=1)[:, None]  # never the first, where none is missed
    m0, m1, a0, a1 = (np.take_along_axis(a, i, axis=1)[:, 0] for a in (missed, accepted) for i in (after - 1, after))
    part = (a0 - m0) / np.maximum((m1 - m0) + (a0 - a1), 1e-300)
    equal: Floats = m0 + np.minimum(part, 1) * (m1 - m0)
    return equal


def _of_order(name: str, about: str, function: OfCurve, *, higher_is_better: bool, unit: str) -> Metric:
    return Metric(
        name, about, higher_is_better, "map", labels=OF_TWO, unit=unit, binary=False, bounded=True,
        check=functools.partial(check_two, name, "one unit, or two classes,"),
        check_set=functools.partial(_check_both, name), contributions=_scored, trivial=_no_order,
        statistic=functools.partial(_of_curve, function), read=_one_unit, decisions=None, reads_classes=True,
    )  # fmt: skip


AUC = _of_order(
    "auc", "how well one unit orders two classes (area under the ROC curve)", _area, higher_is_better=True, unit=""
)
EER = _of_order(
    "eer",
    "one score of two classes, at the threshold of equal errors (equal error rate)",
    _equal_errors,
    higher_is_better=False,
    unit="%",
)
