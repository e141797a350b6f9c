"""Metrics of classes: one label per sample, or one per position."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof.intervals import OfMeans
from edgekit.proof.metrics.metric import OF_TWO, Metric, first_output, predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Shape = tuple[int, ...]
    Inputs = Callable[[], Mapping[str, Array]]

#: Largest negative log-likelihood of one token, in nats: a file that answers NaN still gets a finite, terrible figure.
NLL_CAP = 100.0
#: Probabilities may leave 0..1 by rounding, no further: what does is a logit.
_ROUNDING = 1e-3


def check_labels(labels: Array, shape: Shape) -> None:
    """Refuse labels that do not belong to logits of a shape.

    Raises:
        UsageError: labels are not integers of shape ``shape[:-1]`` within ``0..classes-1``, or empty.
    """
    if len(shape) < 2 or labels.shape != shape[:-1]:
        raise UsageError(
            f"labels have shape {labels.shape}, the output has shape {shape}; labels must be the output's "
            "shape without its last axis (classes)",
            hint="Give one label per sample, the class number, or pass --metric mae, rmse or r2 for quantities."
            if labels.shape == shape
            else "Give one label per sample (per position for segmentation and text), classes on the last axis.",
        )
    _check_numbers(labels, shape[-1])


def _check_numbers(labels: Array, classes: int) -> None:
    if labels.dtype.kind not in "iub":
        raise UsageError(
            f"labels have dtype {labels.dtype}; integers are needed",
            hint="Store class numbers (0, 1, 2 ...), not one-hot rows or floats.",
        )
    if labels.dtype.kind == "b" and classes > 2:
        raise UsageError(
            f"labels are true or false, and the model has {classes} classes",
            hint="Store class numbers (0, 1, 2 ...): true and false tell two classes apart.",
        )
    if labels.size == 0:
        raise UsageError("there are no labels to score", hint="Give at least one sample with its label.")
    numbers = labels.astype(np.int64).reshape(len(labels), -1)
    wrong = (numbers < 0) | (numbers >= classes)
    if wrong.any():
        sample = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise UsageError(
            f"label {numbers[sample][wrong[sample]][0]} of sample {sample} is out of range; the model has {classes} "
            f"classes, so 0 to {classes - 1} is allowed",
            hint="Number the classes from 0 in the order of the model's output.",
        )


def _check_one(name: str, fewest: int, labels: Array, shape: Shape) -> None:
    """One label per sample, and an output of at least so many classes."""
    if len(shape) == 2 and shape[1] == 1 and fewest > 1:
        raise UsageError(
            f"{name} compares classes, and the output has one unit per sample",
            hint="--metric binary where it is a probability, binary_logit where no sigmoid ends the model, auc for "
            "its order alone, mae, rmse or r2 where it is a quantity.",
        )
    if labels.ndim == 1 and labels.dtype.kind == "f":
        raise UsageError(
            f"{name} compares class numbers, and the labels are {labels.dtype}",
            hint="Store class numbers; for quantities take --metric mae, rmse or r2.",
        )
    check_labels(labels, shape)
    if labels.ndim != 1:
        raise UsageError(
            f"{name} scores one label per sample; labels have shape {labels.shape}",
            hint="Use metric miou (segmentation) or perplexity (text) for labels per position.",
        )
    if shape[-1] < fewest:
        raise UsageError(f"{name} needs at least {fewest} classes; the output has {shape[-1]}")


def _majority(labels: Array) -> int:
    return int(np.bincount(labels.astype(np.int64).reshape(-1)).argmax())


def _top1_contributions(labels: Array, logits: Array) -> Floats:
    return np.asarray(np.equal(predictions(logits), labels), np.float64)[:, None]


def _majority_is_right(labels: Array, shape: Shape, inputs: Inputs) -> Floats:
    return np.asarray(labels == _majority(labels), np.float64)[:, None]


def _top5_contributions(labels: Array, logits: Array) -> Floats:
    """Whether the label is among the five largest; ties count against it, so that a constant answer scores 0."""
    values = logits.astype(np.float64)
    own = np.take_along_axis(values, labels.astype(np.int64)[:, None], axis=1)
    right = ((values >= own).sum(axis=1) <= 5) & ~np.isnan(values).any(axis=1)
    return np.asarray(right, np.float64)[:, None]


def _five_commonest(labels: Array, shape: Shape, inputs: Inputs) -> Floats:
    commonest = np.argsort(-np.bincount(labels.astype(np.int64)), kind="stable")[:5]
    return np.asarray(np.isin(labels, commonest), np.float64)[:, None]


def _first_unit(outputs: Mapping[str, Array], labels: Array) -> Array:
    found = first_output(outputs, labels)
    return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found


def check_two(name: str, allowed: str, labels: Array, shape: Shape) -> None:
    """Refuse labels other than 0 and 1, or an output of other than one value per sample."""
    if len(shape) != 1:
        raise UsageError(
            f"{name} scores {allowed} per sample; the output has shape {shape}",
            hint="--metric top1 scores one class of several.",
        )
    if labels.shape != shape:
        raise UsageError(
            f"{name} needs one label of 0 or 1 per sample; labels are {labels.dtype} of shape {labels.shape}",
            hint="Store class numbers, 0 and 1, as integers, one for each sample.",
        )
    _check_numbers(labels, 2)


def _is_second(threshold: float, values: Array) -> NDArray[np.int64]:
    numbers = values.astype(np.float64)
    found: NDArray[np.int64] = np.where(np.isnan(numbers), -1, numbers > threshold).astype(np.int64)
    return found


def _binary_contributions(threshold: float, labels: Array, values: Array) -> Floats:
    return np.asarray(_is_second(threshold, values) == labels, np.float64)[:, None]


def _check_probabilities(values: Array) -> None:
    """Refuse a float model's outputs that are no probabilities: a threshold of one half would mean nothing."""
    low, high = float(values.min()), float(values.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise UsageError(
            f"binary reads a probability, and the output goes from {low:.3g} to {high:.3g}",
            hint="--metric binary_logit where no sigmoid ends the model.",
        )


def _miou_contributions(labels: Array, logits: Array) -> Floats:
    """Per sample: intersections of every class, then unions of every class, in positions."""
    return _overlaps(labels, predictions(logits), logits.shape[-1])


def _overlaps(labels: Array, chosen: NDArray[np.int64], classes: int) -> Floats:
    samples = len(labels)
    truth, chosen = labels.reshape(samples, -1).astype(np.int64), chosen.reshape(samples, -1)
    row = np.arange(samples)[:, None] * classes

    def count(classes_at: NDArray[np.int64], where: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount((row + classes_at)[where], minlength=samples * classes).reshape(samples, classes)

    intersections = count(truth, truth == chosen)
    unions = count(truth, np.ones_like(truth, dtype=bool)) + count(chosen, chosen >= 0) - intersections
    return np.concatenate([intersections, unions], axis=1).astype(np.float64)


def _majority_everywhere(labels: Array, shape: Shape, inputs: Inputs) -> Floats:
    return _overlaps(labels, np.full(labels.shape, _majority(labels), np.int64), shape[-1])


def _miou_value(means: Floats) -> Floats:
    """Mean intersection over union of the classes that occur at all (Everingham et al. 2010, PASCAL VOC)."""
    intersections, unions = np.split(means, 2, axis=-1)
    occurs = unions > 0
    ratios = np.divide(intersections, unions, out=np.zeros_like(unions), where=occurs)
    mean: Floats = ratios.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    return mean


def _nll_contributions(labels: Array, logits: Array) -> Floats:
    """Mean negative log-likelihood of a sample's tokens, in nats; ``labels[i, t]`` is the token after position t."""
    z = logits.astype(np.float64)
    sound = np.asarray(~np.isnan(z).any(axis=-1) & np.isfinite(z.max(axis=-1)))
    z = np.where(sound[..., None], z, 0.0)
    z -= z.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(z, labels[..., None].astype(np.int64), axis=-1)[..., 0]
    nll = np.where(sound, np.log(np.exp(z).sum(axis=-1)) - chosen, NLL_CAP)
    per_sample: Floats = np.minimum(nll, NLL_CAP).reshape(len(labels), -1).mean(axis=1, keepdims=True)
    return per_sample


def _unigram(labels: Array, shape: Shape, inputs: Inputs) -> Floats:
    """Every token as likely as it is common among the labels, whatever came before."""
    numbers = labels.astype(np.int64)
    shares = np.bincount(numbers.reshape(-1)) / numbers.size
    nll = -np.log(shares[numbers])
    per_sample: Floats = nll.reshape(len(labels), -1).mean(axis=1, keepdims=True)
    return per_sample


def _mean(means: Floats) -> Floats:
    return means[..., 0]


def _exp_mean(means: Floats) -> Floats:
    exponential: Floats = np.exp(means[..., 0])
    return exponential


def _proportion(
    name: str,
    about: str,
    labels: str,
    check: Callable[[Array, Shape], None],
    contributions: Callable[[Array, Array], Floats],
    trivial: Callable[[Array, Shape, Inputs], Floats] = _majority_is_right,
    read: Callable[[Mapping[str, Array], Array], Array] = first_output,
    decisions: Callable[[Array], NDArray[np.int64]] = predictions,
    check_values: Callable[[Array], None] | None = None,
) -> Metric:
    return Metric(
        name, about, True, "top1", labels=labels, binary=True, bounded=True, check=check, contributions=contributions,
        trivial=trivial, statistic=functools.partial(OfMeans, function=_mean), read=read, decisions=decisions,
        reads_classes=True, check_values=check_values,
    )  # fmt: skip


TOP1 = _proportion(
    "top1", "the right class", "class numbers", functools.partial(_check_one, "top1", 2), _top1_contributions
)
TOP5 = _proportion(
    "top5",
    "the right class among the five likeliest",
    "class numbers",
    functools.partial(_check_one, "top5", 6),
    _top5_contributions,
    _five_commonest,
)
BINARY = _proportion(
    "binary",
    "one probability per sample, right above one half or below",
    OF_TWO,
    functools.partial(check_two, "binary", "one unit"),
    functools.partial(_binary_contributions, 0.5),
    read=_first_unit,
    decisions=functools.partial(_is_second, 0.5),
    check_values=_check_probabilities,
)
BINARY_LOGIT = _proportion(
    "binary_logit",
    "one logit per sample, right above zero or below",
    OF_TWO,
    functools.partial(check_two, "binary_logit", "one unit"),
    functools.partial(_binary_contributions, 0.0),
    read=_first_unit,
    decisions=functools.partial(_is_second, 0.0),
)
MIOU = Metric(
    "miou",
    "one class per position (mean intersection over union)",
    True,
    "map",
    labels="a class per position",
    binary=False,
    bounded=True,
    check=check_labels,
    contributions=_miou_contributions,
    trivial=_majority_everywhere,
    statistic=functools.partial(OfMeans, function=_miou_value),
    reads_classes=True,
)
PERPLEXITY = Metric(
    "perplexity",
    "one token per position (perplexity, relative)",
    False,
    "relative",
    labels="a token per position",
    unit="",
    binary=False,
    bounded=False,
    check=check_labels,
    contributions=_nll_contributions,
    trivial=_unigram,
    statistic=functools.partial(OfMeans, function=_exp_mean),
    reads_classes=True,
)
