"""Metrics of pictures that a model makes and that have no right answer: a scene in the style of another picture."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof.intervals import OfMeans
from edgekit.proof.metrics.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Shape = tuple[int, ...]
    Inputs = Callable[[], Mapping[str, Array]]

#: How far from a place, in pixels, lies what its strokes are compared with, and in which directions.
_REACHES = (1, 3)
_WAYS = ((0, 1), (1, 1), (1, 0), (1, -1))
#: Pixels over which brightness is averaged before its slopes are taken, so that strokes within an area count little.
_SMOOTHED = 4
#: Height and width of the least picture.
_LEAST_SIDE = 16
#: The unit of a kind of filters is at least this: an even area has no strokes.
_LEAST = 1e-3
#: Samples of which the filters' answers stay in the processor's caches.
_AT_ONCE = 16


def _picture(outputs: Mapping[str, Array], labels: Array) -> Array:
    """The first output, channels last where the labels show that they come second."""
    found = next(iter(outputs.values()))
    wanted = labels.shape[2:]
    if found.ndim == 4 and found.shape[1:] != wanted and (*found.shape[2:], found.shape[1]) == wanted:
        return np.moveaxis(found, 1, -1)
    return found


def _check(labels: Array, shape: Shape) -> None:
    whole = (labels.shape[0], *labels.shape[2:])
    if labels.dtype.kind != "f" or labels.ndim != 5 or labels.shape[1] != 2 or not len(labels) or whole != shape:
        raise UsageError(
            f"stylization compares pictures; labels are {labels.dtype} of shape {labels.shape}, the output has shape "
            f"{shape}",
            hint="Give labels (samples, 2, height, width, colours): for each sample the content, then the style.",
        )
    if min(shape[1:3]) < _LEAST_SIDE:
        raise UsageError(
            f"stylization compares strokes and edges; pictures have {shape[1]}x{shape[2]} pixels",
            hint=f"Give pictures of at least {_LEAST_SIDE}x{_LEAST_SIDE}.",
        )


def _contributions(labels: Array, found: Array) -> Floats:
    """The harmonic mean of how much of the content and of the style is there, each within 0..1."""
    starts = range(0, len(labels), _AT_ONCE)
    return np.concatenate([_of_few(labels[at : at + _AT_ONCE], found[at : at + _AT_ONCE]) for at in starts])


def _of_few(labels: Array, found: Array) -> Floats:
    content, style = labels[:, 0].astype(np.float64), labels[:, 1].astype(np.float64)
    answer = found.astype(np.float64)
    finite = np.isfinite(answer).all(axis=(1, 2, 3), keepdims=True)
    answer = np.where(finite, answer, 0.0)
    kept, styled = _likeness(content, answer), _styled(style, answer)
    both = kept + styled
    mean = np.divide(2 * kept * styled, both, out=np.zeros_like(both), where=both > 0)
    return np.where(finite.reshape(-1, 1), mean[:, None], 0.0)


def _likeness(content: Floats, answer: Floats) -> Floats:
    """Correlation of the slopes of brightness: edges are where they were, and as bright on the same side; 0..1."""
    ours, theirs = _slopes(answer), _slopes(content)
    size = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum(axis=1))
    alike = np.divide((ours * theirs).sum(axis=1), size, out=np.zeros_like(size), where=size > 0)
    return np.clip(alike, 0.0, 1.0)


def _slopes(pictures: Floats) -> Floats:
    """Slopes of brightness across and down, one row per sample."""
    grey = pictures.mean(axis=-1)
    for axis in (1, 2):
        grey = np.lib.stride_tricks.sliding_window_view(grey, _SMOOTHED, axis=axis).mean(axis=-1)
    rows = len(grey)
    across, down = np.diff(grey, axis=2), np.diff(grey, axis=1)
    return np.concatenate([across.reshape(rows, -1), down.reshape(rows, -1)], axis=1)


def _styled(style: Floats, answer: Floats) -> Floats:
    """How much of the style's Gram matrix an answer has, of colours and strokes wherever they lie; 0..1.

    Filters count in units of how strongly the style answers to all of their kind. An answer whose matrix is as far away
    as that of no picture at all has nothing of the style.
    """
    theirs, ours = _responses(style), _responses(answer)
    units = [np.maximum(np.sqrt((kind**2).mean(axis=(1, 2), keepdims=True)), _LEAST) for kind in theirs]
    wanted, found = _gram(theirs, units), _gram(ours, units)
    away = ((found - wanted) ** 2).sum(axis=(1, 2)) / (wanted**2).sum(axis=(1, 2))
    return np.clip(1 - np.sqrt(away), 0.0, 1.0)


def _responses(pictures: Floats) -> list[Floats]:
    """What filters of each kind answer at each place, ``(samples, filters, places)``.

    They are one that is always 1, colours, and for each reach how a place differs from both of its sides.
    """
    edge = max(_REACHES)
    planes = np.ascontiguousarray(np.moveaxis(pictures, -1, 1))
    high, wide = planes.shape[2:]

    def moved(down: int, across: int) -> Floats:
        return planes[:, :, edge + down : high - edge + down, edge + across : wide - edge + across]

    middle = moved(0, 0)
    kinds = [np.ones_like(middle[:, :1]), middle]
    for reach in _REACHES:
        sides = [(reach * down, reach * across) for down, across in _WAYS]
        kinds.append(np.concatenate([middle - (moved(y, x) + moved(-y, -x)) / 2 for y, x in sides], axis=1))
    return [kind.reshape(*kind.shape[:2], -1) for kind in kinds]


def _gram(kinds: list[Floats], units: list[Floats]) -> Floats:
    """How filters' answers go together."""
    rows = np.concatenate([kind / unit for kind, unit in zip(kinds, units, strict=True)], axis=1)
    grams: Floats = rows @ rows.swapaxes(1, 2) / rows.shape[2]
    return grams


def _one_of_both(labels: Array, shape: Shape, inputs: Inputs) -> Floats:
    """The content as it is, or the style picture itself, whichever is better for all samples at once."""
    answers = [_contributions(labels, labels[:, i]) for i in (0, 1)]
    return max(answers, key=lambda found: float(found.mean()))


def _mean(means: Floats) -> Floats:
    return means[..., 0]


STYLIZATION = Metric(
    "stylization",
    "a scene in the style of a picture (how much of both there is, harmonic mean)",
    True,
    "map",
    labels="(samples, 2, height, width, colours): for each sample the scene, then the picture",
    binary=False,
    bounded=True,
    check=_check,
    contributions=_contributions,
    trivial=_one_of_both,
    statistic=functools.partial(OfMeans, function=_mean),
    read=_picture,
    decisions=None,
)
