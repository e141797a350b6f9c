"""Metrics of quantities and signals: floats on both sides."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof.intervals import OfMeans
from edgekit.proof.metrics.metric import BROKEN, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Shape = tuple[int, ...]
    Inputs = Callable[[], Mapping[str, Array]]

#: Ratios of signals are kept within these decibels: a file that answers NaN or nothing still gets a finite figure.
SI_SDR_CAP_DB = 60.0


def _quantity(outputs: Mapping[str, Array], labels: Array) -> Array:
    """The first output of the labels' shape, or else the first one; one value per sample with or without an axis."""
    found = [array for array in outputs.values() if array.shape[1:] == labels.shape[1:]]
    first = found[0] if found else next(iter(outputs.values()))
    if first.ndim == labels.ndim + 1 and first.shape[-1] == 1:
        return first[..., 0]
    return first[..., None] if first.ndim == labels.ndim - 1 and labels.shape[-1] == 1 else first


def _check_quantity(name: str, labels: Array, shape: Shape) -> None:
    if labels.dtype.kind not in "fiu" or labels.shape != shape or not len(labels):
        raise UsageError(
            f"{name} compares numbers; labels are {labels.dtype} of shape {labels.shape}, the output has shape {shape}",
            hint="Give labels of the output's shape, at least one.",
        )


def _check_spread(labels: Array) -> None:
    if not np.ptp(labels, axis=0).any():
        raise UsageError(
            f"r2 relates the error to how far the labels vary, and those of the {len(labels)} samples are alike",
            hint="Give more labelled samples: they are shared out, and each share has to vary.",
        )


def _errors(labels: Array, found: Array) -> Floats:
    """Differences, one row per sample."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = found.astype(np.float64) - labels.astype(np.float64)
    return np.where(np.isfinite(error), error, BROKEN).reshape(len(labels), -1)


def _mae_contributions(labels: Array, found: Array) -> Floats:
    return np.abs(_errors(labels, found)).mean(axis=1, keepdims=True)


def _squares(labels: Array, found: Array) -> Floats:
    return (_errors(labels, found) ** 2).mean(axis=1, keepdims=True)


def _r2_contributions(labels: Array, found: Array) -> Floats:
    """Mean square of the error, mean square of the labels, then the labels themselves."""
    rows = labels.astype(np.float64).reshape(len(labels), -1)
    return np.concatenate([_squares(labels, found), (rows**2).mean(axis=1, keepdims=True), rows], axis=1)


def _constant(
    contributions: Callable[[Array, Array], Floats],
    middle: Callable[..., Floats],
    labels: Array,
    shape: Shape,
    inputs: Inputs,
) -> Floats:
    """The answer that is best for all samples at once: the median for absolute errors, the mean for squares."""
    answer = middle(labels.astype(np.float64), axis=0)
    return contributions(labels, np.broadcast_to(answer, labels.shape))


def _mean(means: Floats) -> Floats:
    return means[..., 0]


def _root(means: Floats) -> Floats:
    root: Floats = np.sqrt(means[..., 0])
    return root


def _r2_value(means: Floats) -> Floats:
    """Share of the labels' variance that is explained, all elements together (weighted by their variance)."""
    error, power, middle = means[..., 0], means[..., 1], means[..., 2:]
    variance = np.maximum(power - (middle**2).mean(axis=-1), 0.0)
    explained: Floats = 1 - np.divide(error, variance, out=np.full_like(error, BROKEN), where=variance > 0)
    return explained


MAE = Metric(
    "mae",
    "quantities (mean absolute error, relative)",
    False,
    "relative",
    labels="numbers of the output's shape",
    unit="",
    binary=False,
    bounded=False,
    check=functools.partial(_check_quantity, "mae"),
    contributions=_mae_contributions,
    trivial=functools.partial(_constant, _mae_contributions, np.median),
    statistic=functools.partial(OfMeans, function=_mean),
    read=_quantity,
    decisions=None,
    zero_is_perfect=True,
)
RMSE = Metric(
    "rmse",
    "quantities (root mean square error, relative)",
    False,
    "relative",
    labels="numbers of the output's shape",
    unit="",
    binary=False,
    bounded=False,
    check=functools.partial(_check_quantity, "rmse"),
    contributions=_squares,
    trivial=functools.partial(_constant, _squares, np.mean),
    statistic=functools.partial(OfMeans, function=_root),
    read=_quantity,
    decisions=None,
    zero_is_perfect=True,
)
R2 = Metric(
    "r2",
    "quantities (R2, share of the variance that is explained)",
    True,
    "map",
    labels="numbers of the output's shape",
    unit="",
    binary=False,
    bounded=False,
    check=functools.partial(_check_quantity, "r2"),
    check_set=_check_spread,
    contributions=_r2_contributions,
    trivial=functools.partial(_constant, _r2_contributions, np.mean),
    statistic=functools.partial(OfMeans, function=_r2_value),
    read=_quantity,
    decisions=None,
)


def _signal(outputs: Mapping[str, Array], labels: Array) -> Array:
    return next(iter(outputs.values()))


def _check_signal(labels: Array, shape: Shape) -> None:
    if labels.dtype.kind != "f" or labels.shape != shape or labels.ndim != 2 or not len(labels):
        raise UsageError(
            f"labels are {labels.dtype} of shape {labels.shape}, the output has shape {shape}; "
            "si_sdr needs floats (samples, length) on both sides"
        )
    if not np.square(labels, dtype=np.float64).sum(axis=1).all():
        raise UsageError("si_sdr is not defined against silence: a label is all zero")


def _si_sdr_contributions(labels: Array, signal: Array) -> Floats:
    """Scale-invariant signal-to-distortion ratio of each sample in dB, within +-``SI_SDR_CAP_DB``.

    Le Roux, Wisdom, Erdogan & Hershey 2019, SDR - half-baked or well done? (arXiv 1811.02508), equation 3:
    ``10 log10(|a s|^2 / |a s - e|^2)`` with ``a = e.s / |s|^2``. A signal that is not finite gets the lowest value.
    """
    clean, found = labels.astype(np.float64), signal.astype(np.float64)
    energy = (clean * clean).sum(axis=1, keepdims=True)
    finite = np.isfinite(found).all(axis=1, keepdims=True)
    found = np.where(finite, found, 0.0)
    target = (found * clean).sum(axis=1, keepdims=True) / energy * clean
    wanted, error = ((a * a).sum(axis=1, keepdims=True) for a in (target, target - found))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(wanted / error)
    lowest = ~finite | (wanted == 0)
    clipped: Floats = np.clip(np.where(lowest, -SI_SDR_CAP_DB, ratio), -SI_SDR_CAP_DB, SI_SDR_CAP_DB)
    return clipped


def _unprocessed(labels: Array, shape: Shape, inputs: Inputs) -> Floats:
    """The input signal itself as the answer, cut to the output's length; nothing where no input is as long."""
    length = labels.shape[1]
    signals = [a for a in inputs().values() if a.ndim == 2 and len(a) == len(labels) and a.shape[1] >= length]
    if not signals:
        return np.full((len(labels), 1), -SI_SDR_CAP_DB)
    return _si_sdr_contributions(labels, signals[0][:, :length])


SI_SDR = Metric(
    "si_sdr",
    "a signal without its noise (dB)",
    True,
    "relative",
    labels="the clean signal",
    unit=" dB",
    binary=False,
    bounded=False,
    check=_check_signal,
    contributions=_si_sdr_contributions,
    trivial=_unprocessed,
    statistic=functools.partial(OfMeans, function=_mean),
    read=_signal,
    decisions=None,
)
