"""Object detection outside of the network: box decoding, overlap, suppression, matching, average precision.

Boxes are corners ``(left, top, right, bottom)`` in pixels of the input image. Everything works on many images at
once: the leading axis is the image, and lists of unequal length are padded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import UsageError
from edgekit.signature import BOXES

Floats = NDArray[np.float64]

#: ``exp`` of a box's raw size is cut here (a box 3000 times its anchor), so that a broken file cannot overflow.
_LARGEST_LOG = 8.0
#: Where a label says of each pixel which object it shows: this times the class plus the object's number, as Cityscapes
#: numbers instances; -1 is no object.
UNIT = 1000
#: Pairwise overlaps that are held at once.
_PAIRS = 256 * 32**2


@dataclass(frozen=True)
class Detections:
    """What is left after suppression, best first; each array ``(images, most)``, ``boxes`` ``(images, most, 4)``.

    Attributes:
        boxes: corners in pixels.
        classes: class numbers.
        scores: confidence within 0..1; 0 marks padding.
        rows: which of the boxes that there were each is.
    """

    boxes: Floats
    classes: NDArray[np.int64]
    scores: Floats
    rows: NDArray[np.int64]


def sigmoid(x: Floats) -> Floats:
    """Logistic function without overflow."""
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return found


def decode(raw: NDArray[np.generic], anchors: Sequence[tuple[float, float]], size: int) -> Floats:
    """Decode YOLOv2's box parameters (Redmon & Farhadi, arXiv 1612.08242, figure 3) on a square grid.

    ``x = (column + sigmoid(tx)) * cell``, ``w = anchor_w * exp(tw)``, likewise y and h.

    Args:
        raw: ``(images, grid * grid * anchors, 4)`` as ``tx, ty, tw, th``; anchors vary fastest, then columns.
        anchors: width and height in pixels.
        size: side of the square image in pixels.

    Returns:
        Corners, not clipped to the image.

    Raises:
        UsageError: the number of boxes is not anchors times a square.
    """
    count = raw.shape[1]
    grid = math.isqrt(count // len(anchors))
    if raw.ndim != 3 or raw.shape[2] != 4 or grid * grid * len(anchors) != count:
        raise UsageError(f"boxes have shape {raw.shape}; needed: (images, grid * grid * {len(anchors)}, 4)")
    t = raw.astype(np.float64).reshape(-1, grid, grid, len(anchors), 4)
    at = np.arange(grid, dtype=np.float64)
    columns_rows = np.stack(np.broadcast_arrays(at[None, :], at[:, None]), axis=-1)[:, :, None]
    centre = (columns_rows + sigmoid(t[..., :2])) * (size / grid)
    half = np.asarray(anchors, np.float64) * np.exp(np.minimum(t[..., 2:], _LARGEST_LOG)) / 2
    return np.concatenate([centre - half, centre + half], axis=-1).reshape(-1, count, 4)


def default_boxes(size: int, grids: Sequence[int], sides: Sequence[float], ratios: Sequence[Sequence[float]]) -> Floats:
    """SSD's default boxes (Liu et al., arXiv 1512.02325, section 2.2): ``(boxes, 4)`` as centre x, y, width, height.

    At each place of a map: a square of the map's side, one of the geometric mean of it and the next, and for each ratio
    a box of the side's area, wide and high.

    Args:
        size: side of the square image in pixels.
        grids: places along a side of each map, which the boxes' centres divide evenly.
        sides: side in pixels of each map's square, and one more behind the last.
        ratios: of each map, all above 1.
    """
    found = []
    for grid, (side, larger), above in zip(grids, pairwise(sides), ratios, strict=True):
        shapes = [(side, side), (math.sqrt(side * larger),) * 2]
        for ratio in above:
            wide, narrow = side * math.sqrt(ratio), side / math.sqrt(ratio)
            shapes += [(wide, narrow), (narrow, wide)]
        found.append(_at_each_place(size, grid, shapes))
    return np.concatenate(found)


def anchors(size: int, grids: Sequence[int], sides: Sequence[float], ratios: Sequence[float]) -> Floats:
    """Anchors of a pyramid (Lin et al., arXiv 1612.03144, section 4.1): ``(boxes, 4)`` as ``default_boxes``.

    Args:
        size: side of the square image in pixels.
        grids: places along a side of each map.
        sides: root of the area of each map's anchors in pixels.
        ratios: width by height of the anchors at each place.
    """
    roots = [math.sqrt(ratio) for ratio in ratios]
    return np.concatenate(
        [_at_each_place(size, g, [(side * r, side / r) for r in roots]) for g, side in zip(grids, sides, strict=True)]
    )


def _at_each_place(size: int, grid: int, shapes: Sequence[tuple[float, float]]) -> Floats:
    """Boxes of some widths and heights around each place of a map, rows of places first."""
    centre = (np.arange(grid) + 0.5) * size / grid
    y, x = np.meshgrid(centre, centre, indexing="ij")
    places = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    each = np.broadcast_to(np.asarray(shapes), (len(places), len(shapes), 2))
    return np.concatenate([np.broadcast_to(places, each.shape), each], axis=-1).reshape(-1, 4)


def from_default(raw: NDArray[np.generic], boxes: Floats, variances: tuple[float, float] = (0.1, 0.2)) -> Floats:
    """Offsets ``(images, n, 4)`` from default boxes to corners in pixels (equation 2 of SSD's paper).

    The boxes are ``(n, 4)``, or each image has its own.

    ``x = cx + tx * 0.1 * w``, ``w = w * exp(0.2 * tw)``, likewise y and h.
    """
    t = raw.astype(np.float64)
    centre = boxes[..., :2] + t[..., :2] * variances[0] * boxes[..., 2:]
    half = boxes[..., 2:] * np.exp(np.minimum(t[..., 2:] * variances[1], _LARGEST_LOG)) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def centred(corners: Floats) -> Floats:
    """Corners as centre x, y, width and height."""
    first, second = corners[..., :2], corners[..., 2:]
    return np.concatenate([(first + second) / 2, second - first], axis=-1)


def levels(regions: Floats, first: float, count: int) -> NDArray[np.int64]:
    """Which map of a pyramid a region is read from (equation 1 of arXiv 1612.03144), the finest is 0.

    Regions of less than ``first`` pixels, by the root of their area, are read from the finest, and from the next one
    for each doubling.
    """
    side = np.sqrt(np.maximum(_area(regions), 1e-6))
    return np.clip(np.floor(np.log2(side / first)) + 1, 0, count - 1).astype(np.int64)


def sampling(regions: Floats, bins: int, size: int, grid: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """RoIAlign (He et al., arXiv 1703.06870, section 3) as weights: a mean of two bilinear samples per bin and axis.

    Args:
        regions: ``(..., 4)`` corners in pixels.
        bins: along a side of what is read.
        size: side of the square image in pixels.
        grid: places along a side of the map.

    Returns:
        Weights of rows and of columns, ``(..., bins, grid)`` both: what a region reads of a map is
        ``rows @ map @ columns.T``.
    """
    at = (np.arange(2 * bins) + 0.5) / (2 * bins)
    found = []
    for low, high in ((regions[..., 1], regions[..., 3]), (regions[..., 0], regions[..., 2])):
        place = (low[..., None] + at * (high - low)[..., None]) * grid / size - 0.5
        near = _nearness(np.clip(place, 0, grid - 1), grid)
        found.append(near.reshape(*near.shape[:-2], bins, 2, grid).mean(axis=-2).astype(np.float32))
    return found[0], found[1]


def pasted(masks: Floats, boxes: Floats, size: int) -> Floats:
    """Values of boxes' own grids ``(..., m, m)`` at the pixels of the image ``(..., size, size)``; 0 outside of them.

    Between the middles of a grid's cells they are bilinear.
    """
    grid = masks.shape[-1]
    at = np.arange(size) + 0.5
    axes = []
    for low, high in ((boxes[..., 1], boxes[..., 3]), (boxes[..., 0], boxes[..., 2])):
        share = (at - low[..., None]) / np.maximum(high - low, 1e-6)[..., None]
        inside = (share > 0) & (share < 1)
        axes.append(_nearness(np.clip(share * grid - 0.5, 0, grid - 1), grid) * inside[..., None])
    found: Floats = axes[0] @ masks @ np.swapaxes(axes[1], -1, -2)
    return found


def _nearness(places: Floats, grid: int) -> Floats:
    """Bilinear weights of a grid's cells along one axis: ``(...)`` -> ``(..., grid)``."""
    found: Floats = np.maximum(1 - np.abs(places[..., None] - np.arange(grid)), 0)
    return found


def softmax(logits: NDArray[np.generic]) -> Floats:
    """Probabilities along the last axis."""
    z = logits.astype(np.float64)
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    found: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return found


def box_axis(shape: Sequence[int], *, both: bool) -> int:
    """The axis of ``(images, ., .)`` along which lies what there is of a box: four numbers, or ``both`` with scores.

    With scores it is the shorter one.
    """
    return 2 if (shape[2] <= shape[1] if both else shape[2] == 4) else 1


def apart(
    outputs: Mapping[str, NDArray[np.generic]], roles: Mapping[str, str]
) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
    """Outputs and their roles; one that has both boxes and scores is two, of each box its four numbers first."""
    found, known = dict(outputs), dict(roles)
    for name, role in roles.items():
        both = role.split("+")
        if len(both) == 2:
            whole = found.pop(name)
            axis = -1 if whole.ndim < 3 else box_axis(whole.shape, both=True)
            del known[name]
            for part, value in zip(both, np.split(whole, [4], axis), strict=True):
                found[f"{name}:{part}"], known[f"{name}:{part}"] = value, part
    return found, known


def named(
    outputs: Mapping[str, NDArray[np.generic]], roles: Mapping[str, str], size: tuple[int, int]
) -> dict[str, NDArray[np.generic]]:
    """A user's detector's outputs as ``boxes`` ``(images, n, 4)``, corners in pixels, and ``scores`` ``(.., classes)``.

    Args:
        outputs: by their own names; boxes may lie along the second or the last axis.
        roles: what each output is, of ``signature.ROLES``; one has boxes, one has scores.
        size: height and width of the model's input in pixels.

    Raises:
        UsageError: the two do not fit together.
    """
    boxes_name = next(name for name, role in roles.items() if role in BOXES)
    scores_name = next(name for name, role in roles.items() if role.startswith("scores"))
    raw, scores = outputs[boxes_name], outputs[scores_name]
    if raw.ndim != 3 or scores.ndim != 3 or 4 not in raw.shape[1:]:
        raise UsageError(
            f"boxes have shape {raw.shape} and scores {scores.shape}; needed: (images, n, 4) and (images, n, classes)",
            hint="Return them as outputs of their own.",
        )
    boxes = np.asarray(np.moveaxis(raw, box_axis(raw.shape, both=False), 2), np.float64)
    if scores.shape[1] != boxes.shape[1] and scores.shape[2] == boxes.shape[1]:
        scores = np.moveaxis(scores, 1, 2)
    if scores.shape[1] != boxes.shape[1]:
        raise UsageError(f"{boxes.shape[1]} boxes do not go with scores of shape {scores.shape}")
    kind, unit = roles[boxes_name].removesuffix("-unit"), roles[boxes_name].endswith("-unit")
    corners = _corners(boxes, kind) * ([size[1], size[0]] * 2 if unit else 1.0)
    return {"boxes": corners, "scores": sigmoid(scores.astype(np.float64)) if "logit" in roles[scores_name] else scores}


def _corners(boxes: Floats, kind: str) -> Floats:
    first, second = boxes[..., :2], boxes[..., 2:]
    if kind == "boxes-yxyx":
        return np.concatenate([first[..., ::-1], second[..., ::-1]], axis=-1)
    if kind == "boxes-xywh":
        return np.concatenate([first, first + second], axis=-1)
    if kind == "boxes-cxcywh":
        return np.concatenate([first - second / 2, first + second / 2], axis=-1)
    return boxes


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union of every pair: ``(..., n, 4)`` and ``(..., m, 4)`` -> ``(..., n, m)``; 0 without area."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=-1)
    union = _area(a) + _area(b) - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def _area(boxes: Floats) -> Floats:
    found: Floats = np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)
    return found


def suppress(
    boxes: Floats, scores: Floats, *, score_min: float = 0.01, iou_max: float = 0.45, most: int = 32
) -> Detections:
    """Greedy non-maximum suppression within each class.

    Every box stands for its likeliest class alone. Of the ``most`` best boxes of an image, best first, one goes when
    a better one of its class that stayed overlaps it by more than ``iou_max``. Equal scores keep their order.

    Args:
        boxes: ``(images, n, 4)`` corners; a box that is not finite is no detection.
        scores: ``(images, n, classes)`` confidences within 0..1, likewise.
        score_min: lower scores are dropped.
        iou_max: largest overlap of two boxes of a class.
        most: detections per image at most.
    """
    finite = np.asarray(np.isfinite(boxes).all(axis=-1) & np.isfinite(scores).all(axis=-1))
    best = np.where(finite, scores.max(axis=-1), 0.0)
    order = np.argsort(-best, axis=1, kind="stable")[:, :most]
    kept: Floats = np.take_along_axis(best, order, axis=1)
    kept *= kept >= score_min
    classes = np.take_along_axis(scores.argmax(axis=-1), order, axis=1).astype(np.int64)
    corners = np.take_along_axis(np.where(finite[..., None], boxes, 0.0), order[..., None], axis=1)
    images = max(1, _PAIRS // max(1, kept.shape[1]) ** 2)
    for start in range(0, len(boxes), images):
        rows = slice(start, start + images)
        overlap = iou(corners[rows], corners[rows]) > iou_max
        rivals = np.asarray(overlap & (classes[rows, :, None] == classes[rows, None, :]))
        stays = kept[rows] > 0
        for i in range(stays.shape[1]):
            stays[:, i + 1 :] &= ~(rivals[:, i, i + 1 :] & stays[:, i, None])
        kept[rows] *= stays
    front = np.argsort(kept == 0, axis=1, kind="stable")  # padding to the end; the others are in order already
    return Detections(
        np.take_along_axis(corners, front[..., None], axis=1),
        np.take_along_axis(classes, front, axis=1),
        np.take_along_axis(kept, front, axis=1),
        np.take_along_axis(order, front, axis=1),
    )


def match(found: Detections, labels: NDArray[np.generic], *, iou_min: float = 0.5) -> NDArray[np.bool_]:
    """Say which detections are right, by PASCAL VOC's rule (Everingham et al. 2010, section 4.2.2).

    Best first, a detection belongs to the object of its class that it overlaps most; it is right where that overlap
    is at least ``iou_min`` and no better detection took the object.

    Args:
        found: detections, best first.
        labels: ``(images, objects, 5)``: class, left, top, right, bottom; class -1 is padding.
        iou_min: overlap needed.

    Returns:
        ``(images, most)``; False for padding.
    """
    kinds, objects = labels[..., 0].astype(np.int64), labels[..., 1:].astype(np.float64)
    overlaps = np.where(found.classes[..., None] == kinds[:, None], iou(found.boxes, objects), -1.0)
    return match_overlaps(found.scores, overlaps, iou_min=iou_min)


def match_overlaps(scores: Floats, overlaps: Floats, *, iou_min: float = 0.5) -> NDArray[np.bool_]:
    """As ``match``, of overlaps ``(images, most, objects)`` that are -1 where classes differ."""
    image, taken = np.arange(len(scores)), np.zeros((len(scores), overlaps.shape[2]), bool)
    right: NDArray[np.bool_] = np.zeros(scores.shape, bool)
    for i in range(right.shape[1]):
        nearest = overlaps[:, i].argmax(axis=1)
        right[:, i] = (scores[:, i] > 0) & (overlaps[image, i, nearest] >= iou_min) & ~taken[image, nearest]
        taken[image, nearest] |= right[:, i]
    return right


def average_precision(right: Floats, wrong: Floats, objects: Floats) -> Floats:
    """Area under the precision-recall curve, interpolated at all points (PASCAL VOC from 2010 on).

    Args:
        right: ``(..., groups)`` right detections per group of equal score, best group first.
        wrong: the wrong ones, likewise.
        objects: ``(...)`` objects there are; where 0, the area is 0.

    Returns:
        ``(...)`` within 0..1.
    """
    hits = np.cumsum(right, axis=-1)
    claimed = hits + np.cumsum(wrong, axis=-1)
    precision = np.divide(hits, claimed, out=np.zeros_like(hits), where=claimed > 0)
    best_later = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    area = (right * best_later).sum(axis=-1)
    return np.divide(area, objects, out=np.zeros_like(area), where=objects > 0)
