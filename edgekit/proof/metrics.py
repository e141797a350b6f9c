"""Task metrics, found by name.

Every metric here is a smooth function of the *mean over samples* of what each sample contributes. That makes it
cheap to resample: a bootstrap replicate or a leave-one-out value needs a mean, not another look at the logits, and
two models measured on the same samples stay paired.

What a metric looks at is one array per model, ``Metric.read`` of all its outputs by name (after the task's own
postprocessing, see ``edgekit/data/tasks``). A new metric is one ``Metric`` constant in this module; it is found by its
``name``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekit.data import detection
from edgekit.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Which table of the gate holds a metric: ``[gate.top1]`` and ``[gate.map]`` limit the drop in absolute points,
#: ``[gate.relative]`` the drop as a fraction of the float value.
Family = Literal["top1", "map", "relative"]

#: Largest negative log-likelihood of one token, in nats: a file that answers NaN still gets a finite, terrible figure.
NLL_CAP = 100.0

#: Samples that are scored at a time: float64 copies of all logits of a segmentation would fill a small machine.
CHUNK = 128

#: Ratios of signals are kept within these decibels: a file that answers NaN or nothing still gets a finite figure.
SI_SDR_CAP_DB = 60.0

#: Edges between the groups of detections that ``map`` takes for equally sure: confidences from ``MAP_SCORE_MIN`` to
#: almost 1 in even steps of 0.1 of their logit. Right and wrong ones of a group enter the curve together, as ties do;
#: that takes less than 0.01 off the exact mean average precision of a mediocre detector (tests/unit/test_detection.py),
#: from both models alike.
MAP_SCORE_MIN = 0.01
MAP_EDGES = 1 / (1 + np.exp(-np.linspace(-4.5, 8.1, 127)))
_GROUPS = len(MAP_EDGES) + 1


def first_output(outputs: Mapping[str, NDArray[np.generic]], labels: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return the first output, its class axis moved to the end where the labels show that it lies second."""
    logits = next(iter(outputs.values()))
    rest = logits.shape[:1] + logits.shape[2:]
    if logits.ndim == labels.ndim + 1 and logits.shape[:-1] != labels.shape and rest == labels.shape:
        return np.moveaxis(logits, 1, -1)
    return logits


def predictions(logits: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the class of each position, ``(..., classes) -> (...)``; -1 where a logit is NaN or infinite.

    Ties go to the lowest class, as in NumPy: an int8 file that answers a constant scores like "always class 0".
    """
    finite = np.isfinite(logits).all(axis=-1)
    return np.where(finite, np.argmax(logits, axis=-1), -1).astype(np.int64)


@dataclass(frozen=True)
class Metric:
    """How a task is scored.

    Attributes:
        name: what ``Task.metric`` and the JSON say.
        higher_is_better: False for perplexity.
        family: which table of the gate judges it.
        binary: whether each sample contributes one 0 or 1 (a proportion, which gets Tango's interval).
        bounded: whether values lie within 0..1.
        contributions: ``(labels, array of read) -> (samples, m)`` float64.
        value: ``(..., m)`` means of contributions -> ``(...)`` metric values.
        read: ``(outputs by name, labels) ->`` the array that is scored; logits with the classes last by default.
        decisions: that array -> the class chosen at each position, -1 where it is not finite; None for signals.
    """

    name: str
    higher_is_better: bool
    family: Family
    binary: bool
    bounded: bool
    contributions: Callable[[NDArray[np.generic], NDArray[np.generic]], NDArray[np.float64]]
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    read: Callable[[Mapping[str, NDArray[np.generic]], NDArray[np.generic]], NDArray[np.generic]] = first_output
    decisions: Callable[[NDArray[np.generic]], NDArray[np.int64]] | None = predictions

    def score(self, labels: NDArray[np.generic], scored: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the contributions of all samples, ``CHUNK`` at a time."""
        if len(labels) != len(scored):
            return self.contributions(labels, scored)  # which refuses them
        starts = range(0, max(len(labels), 1), CHUNK)
        return np.concatenate([self.contributions(labels[i : i + CHUNK], scored[i : i + CHUNK]) for i in starts])

    def drop(self, reference: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much worse ``measured`` is: points, or a fraction of ``reference`` for ``relative``."""
        worse = reference - measured if self.higher_is_better else measured - reference
        return worse / np.abs(reference) if self.family == "relative" else worse


def names() -> list[str]:
    """All metric names, sorted."""
    return sorted(_metrics())


def metric(name: str) -> Metric:
    """Find a metric; raises ``UsageError`` with the nearest name."""
    found = _metrics().get(name)
    if found is None:
        raise unknown_name("metric", name, names())
    return found


def _metrics() -> dict[str, Metric]:
    return {m.name: m for m in globals().values() if isinstance(m, Metric)}


def agreement(
    reference: NDArray[np.generic],
    measured: NDArray[np.generic],
    decisions: Callable[[NDArray[np.generic]], NDArray[np.int64]] = predictions,
) -> float:
    """Return the share of positions where both arrays ``(samples, ..., classes)`` lead to the same decision."""
    if reference.shape != measured.shape:
        raise UsageError(f"logits differ in shape: reference {reference.shape}, measured {measured.shape}")
    same = []
    for i in range(0, len(reference), CHUNK):
        chosen = decisions(measured[i : i + CHUNK])
        same.append((decisions(reference[i : i + CHUNK]) == chosen) & (chosen >= 0))
    return float(np.mean(np.concatenate(same)))


def check_labels(labels: NDArray[np.generic], logits: NDArray[np.generic]) -> None:
    """Refuse labels that do not belong to the logits.

    Raises:
        UsageError: labels are not integers of shape ``logits.shape[:-1]`` within ``0..classes-1``, or empty.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"labels have dtype {labels.dtype}; integers are needed",
            hint="Store class numbers (0, 1, 2 ...), not one-hot rows or floats.",
        )
    if logits.ndim < 2 or labels.shape != logits.shape[:-1]:
        raise UsageError(
            f"labels have shape {labels.shape}, the output has shape {logits.shape}; labels must be the output's "
            "shape without its last axis (classes)",
            hint="Give one label per sample (per position for segmentation and text), classes on the last axis.",
        )
    if labels.size == 0:
        raise UsageError("there are no labels to score", hint="Give at least one sample with its label.")
    low, high, classes = int(labels.min()), int(labels.max()), logits.shape[-1]
    if low < 0 or high >= classes:
        raise UsageError(
            f"labels range from {low} to {high}; the model has {classes} classes, so 0 to {classes - 1} is allowed",
            hint="Number the classes from 0 in the order of the model's output.",
        )


def _top1_contributions(labels: NDArray[np.generic], logits: NDArray[np.generic]) -> NDArray[np.float64]:
    check_labels(labels, logits)
    if labels.ndim != 1:
        raise UsageError(
            f"top1 scores one label per sample; labels have shape {labels.shape}",
            hint="Use metric miou (segmentation) or perplexity (text) for labels per position.",
        )
    correct = np.equal(predictions(logits), labels)
    return np.asarray(correct, np.float64)[:, None]


def _miou_contributions(labels: NDArray[np.generic], logits: NDArray[np.generic]) -> NDArray[np.float64]:
    """Per sample: intersections of every class, then unions of every class, in positions."""
    check_labels(labels, logits)
    samples, classes = len(labels), logits.shape[-1]
    truth, chosen = labels.reshape(samples, -1).astype(np.int64), predictions(logits).reshape(samples, -1)
    row = np.arange(samples)[:, None] * classes

    def count(classes_at: NDArray[np.int64], where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount((row + classes_at)[where], minlength=samples * classes).reshape(samples, classes)

    intersections = count(truth, truth == chosen)
    unions = count(truth, np.ones_like(truth, dtype=bool)) + count(chosen, chosen >= 0) - intersections
    return np.concatenate([intersections, unions], axis=1).astype(np.float64)


def _miou_value(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean intersection over union of the classes that occur at all (Everingham et al. 2010, PASCAL VOC)."""
    intersections, unions = np.split(means, 2, axis=-1)
    occurs = unions > 0
    ratios = np.divide(intersections, unions, out=np.zeros_like(unions), where=occurs)
    mean: NDArray[np.float64] = ratios.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    return mean


def _nll_contributions(labels: NDArray[np.generic], logits: NDArray[np.generic]) -> NDArray[np.float64]:
    """Mean negative log-likelihood of a sample's tokens, in nats; ``labels[i, t]`` is the token after position t."""
    check_labels(labels, logits)
    z = logits.astype(np.float64)
    finite = np.asarray(np.isfinite(z).all(axis=-1))
    z = np.where(finite[..., None], z, 0.0)
    z -= z.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(z, labels[..., None].astype(np.int64), axis=-1)[..., 0]
    nll = np.where(finite, np.log(np.exp(z).sum(axis=-1)) - chosen, NLL_CAP)
    per_sample: NDArray[np.float64] = np.minimum(nll, NLL_CAP).reshape(len(labels), -1).mean(axis=1, keepdims=True)
    return per_sample


def _boxes_and_scores(outputs: Mapping[str, NDArray[np.generic]], labels: NDArray[np.generic]) -> NDArray[np.generic]:
    """``boxes`` (samples, n, 4), corners, and ``scores`` (samples, n, classes) side by side: one row per box."""
    missing = {"boxes", "scores"} - outputs.keys()
    if missing:
        raise UsageError(
            f"map scores the outputs boxes and scores; the model has {', '.join(outputs)}",
            hint="Give boxes as corners and scores as one confidence per class.",
        )
    return np.concatenate([outputs["boxes"], outputs["scores"]], axis=-1)


def _detected(scored: NDArray[np.generic]) -> NDArray[np.int64]:
    """Class of each box, the number of classes where no confidence reaches one half; -1 where it is not finite."""
    confidences = scored[..., 4:].astype(np.float64)
    found = np.where(confidences.max(axis=-1) < 0.5, confidences.shape[-1], confidences.argmax(axis=-1))
    return np.where(np.isfinite(scored.astype(np.float64)).all(axis=-1), found, -1).astype(np.int64)


def _map_contributions(labels: NDArray[np.generic], scored: NDArray[np.generic]) -> NDArray[np.float64]:
    """Per sample and class: right detections per group, wrong ones per group (surest first), objects.

    Suppression and matching stay within an image; only the order by confidence is across images. So counts per group
    of equal confidence are enough, and their sums give the precision-recall curve.
    """
    classes = scored.shape[-1] - 4
    _check_objects(labels, scored, classes)
    objects, values = labels.astype(np.int64), scored.astype(np.float64)
    found = detection.suppress(values[..., :4], values[..., 4:], score_min=MAP_SCORE_MIN)
    right = detection.match(found, objects)
    group = _GROUPS - 1 - np.digitize(found.scores, MAP_EDGES)
    column = (np.arange(len(labels))[:, None] * classes + found.classes) * _GROUPS + group

    def count(where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(column[where], minlength=len(labels) * classes * _GROUPS).reshape(len(labels), -1)

    counts = [count(right), count((found.scores > 0) & ~right)]
    counts.append((objects[..., :1] == np.arange(classes)).sum(axis=1))
    return np.concatenate(counts, axis=1).astype(np.float64)


def _check_objects(labels: NDArray[np.generic], scored: NDArray[np.generic], classes: int) -> None:
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 3 or labels.shape[2] != 5:
        raise UsageError(
            f"labels are {labels.dtype} of shape {labels.shape}; map needs integers (samples, objects, 5)",
            hint="One row per object: class, left, top, right, bottom; rows of -1 fill up.",
        )
    if scored.ndim != 3 or classes < 1 or len(scored) != len(labels) or not len(labels):
        raise UsageError(
            f"boxes and scores have shape {scored.shape} for {len(labels)} samples; "
            "needed: one row of 4 corners and the classes' confidences per box, at least one sample"
        )
    low, high = int(labels[..., 0].min(initial=-1)), int(labels[..., 0].max(initial=-1))
    if low < -1 or high >= classes:
        raise UsageError(f"labels range from class {low} to {high}; allowed: 0 to {classes - 1}, and -1 for padding")


def _map_value(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean average precision at an overlap of one half, over the classes that occur (PASCAL VOC, all points)."""
    classes = means.shape[-1] // (2 * _GROUPS + 1)
    counts, objects = means[..., :-classes], means[..., -classes:]
    right, wrong = np.moveaxis(counts.reshape(*means.shape[:-1], 2, classes, _GROUPS), -3, 0)
    areas = detection.average_precision(right, wrong, objects)
    mean: NDArray[np.float64] = areas.sum(axis=-1) / np.maximum((objects > 0).sum(axis=-1), 1)
    return mean


def _signal(outputs: Mapping[str, NDArray[np.generic]], labels: NDArray[np.generic]) -> NDArray[np.generic]:
    return next(iter(outputs.values()))


def _si_sdr_contributions(labels: NDArray[np.generic], signal: NDArray[np.generic]) -> NDArray[np.float64]:
    """Scale-invariant signal-to-distortion ratio of each sample in dB, within +-``SI_SDR_CAP_DB``.

    Le Roux, Wisdom, Erdogan & Hershey 2019, SDR - half-baked or well done? (arXiv 1811.02508), equation 3:
    ``10 log10(|a s|^2 / |a s - e|^2)`` with ``a = e.s / |s|^2``. A signal that is not finite gets the lowest value.
    """
    if (
        not np.issubdtype(labels.dtype, np.floating)
        or labels.shape != signal.shape
        or labels.ndim != 2
        or not len(labels)
    ):
        raise UsageError(
            f"labels are {labels.dtype} of shape {labels.shape}, the output has shape {signal.shape}; "
            "si_sdr needs floats (samples, length) on both sides"
        )
    clean, found = labels.astype(np.float64), signal.astype(np.float64)
    energy = (clean * clean).sum(axis=1, keepdims=True)
    if not energy.all():
        raise UsageError("si_sdr is not defined against silence: a label is all zero")
    finite = np.isfinite(found).all(axis=1, keepdims=True)
    found = np.where(finite, found, 0.0)
    target = (found * clean).sum(axis=1, keepdims=True) / energy * clean
    wanted, error = ((a * a).sum(axis=1, keepdims=True) for a in (target, target - found))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(wanted / error)
    lowest = ~finite | (wanted == 0)
    clipped: NDArray[np.float64] = np.clip(np.where(lowest, -SI_SDR_CAP_DB, ratio), -SI_SDR_CAP_DB, SI_SDR_CAP_DB)
    return clipped


def _mean(means: NDArray[np.float64]) -> NDArray[np.float64]:
    return means[..., 0]


def _exp_mean(means: NDArray[np.float64]) -> NDArray[np.float64]:
    exponential: NDArray[np.float64] = np.exp(means[..., 0])
    return exponential


TOP1 = Metric("top1", True, "top1", binary=True, bounded=True, contributions=_top1_contributions, value=_mean)
MIOU = Metric("miou", True, "map", binary=False, bounded=True, contributions=_miou_contributions, value=_miou_value)
PERPLEXITY = Metric(
    "perplexity", False, "relative", binary=False, bounded=False, contributions=_nll_contributions, value=_exp_mean
)
MAP = Metric(
    "map",
    True,
    "map",
    binary=False,
    bounded=True,
    contributions=_map_contributions,
    value=_map_value,
    read=_boxes_and_scores,
    decisions=_detected,
)
SI_SDR = Metric(
    "si_sdr",
    True,
    "relative",
    binary=False,
    bounded=False,
    contributions=_si_sdr_contributions,
    value=_mean,
    read=_signal,
    decisions=None,
)
