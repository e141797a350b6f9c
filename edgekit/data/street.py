"""Generated street scenes: a road to a vanishing point, houses and grass beside it, and up to four objects on it.

One drawing serves several tasks: boxes and classes of the objects, the mask of each, and what every pixel is. Scenes
are simple and noisy on purpose: models of a few seconds' training find most objects, not all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 64
OBJECTS = 4
#: Classes of objects: a vehicle is wide, a pedestrian is narrow, a sign stands on a pole.
VEHICLE, PEDESTRIAN, SIGN = range(3)
#: What a pixel is: none of the others, free road, an object.
OTHER, DRIVABLE, OBSTACLE = range(3)
#: Width and height of each class in units of the distance to the horizon.
_SHAPES = np.array([(0.75, 0.5), (0.28, 0.75), (0.4, 0.85)])
_NOISE = 0.08
#: An object of which less is to be seen is not one.
_VISIBLE = 0.35

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scenes:
    """Drawn scenes.

    Attributes:
        image: ``(n, 64, 64, 3)`` in about [-1, 1], without noise.
        objects: ``(n, 4, 5)``: class, left, top, right, bottom in whole pixels, right and bottom excluded; the farthest
            first; rows of -1 fill up.
        masks: ``(n, 4, 64, 64)``: the visible pixels of each object.
        area: ``(n, 64, 64)``: what each pixel is.
    """

    image: Floats
    objects: NDArray[np.int64]
    masks: NDArray[np.bool_]
    area: NDArray[np.int64]


def draw(rng: np.random.Generator, count: int) -> Scenes:
    """Draw scenes; the same generator gives the same scenes."""
    at: Floats = np.arange(SIZE, dtype=np.float64) + 0.5
    x, y = at[None, None, :], at[None, :, None]

    def between(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (count, 1, 1))

    horizon, vanishing = between(18, 28), between(22, 42)
    depth = np.clip((y - horizon) / (SIZE - horizon), 0, 1)
    left = vanishing + (between(-12, 10) - vanishing) * depth
    right = vanishing + (between(54, 76) - vanishing) * depth
    ground = y > horizon
    road = ground & (x > left) & (x < right)
    image = np.where(ground[..., None], _colour(rng, count, (0.1, 0.35), 1), _colour(rng, count, (0.2, 0.7), 2))
    image = np.where(road[..., None], _colour(rng, count, (-0.5, 0.0), None), image)
    beside = (x < vanishing - between(6, 16)) | (x > vanishing + between(6, 16))
    houses = beside & (y < horizon) & (y > between(2, 16))
    image = np.where(houses[..., None], _colour(rng, count, (-0.2, 0.5), 0), image)
    middle = road & (np.abs(x - (left + right) / 2) < 0.4 + depth) & (np.sin(30 / (depth + 0.15)) > 0)
    image = np.where(middle[..., None], 0.7, image)

    objects = _place(rng, count, horizon[:, 0, 0], left, right)
    masks, whole = np.zeros((count, OBJECTS, SIZE, SIZE), bool), np.zeros((count, OBJECTS), np.int64)
    for i in range(OBJECTS):
        inside, colour = _object(rng, objects[:, i], x, y)
        image = np.where(inside[..., None], colour, image)
        masks[:, :i] &= ~inside[:, None]
        masks[:, i], whole[:, i] = inside, inside.sum(axis=(1, 2))
    area = np.where(masks.any(axis=1), OBSTACLE, np.where(road, DRIVABLE, OTHER))
    hidden = masks.sum(axis=(2, 3)) < _VISIBLE * whole
    objects[hidden], masks[hidden] = -1, False
    light = between(-0.15, 0.15)[..., None]
    return Scenes(image + light, objects, masks, area)


def noisy(image: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """Add noise, clip to [-1, 1] and round to 256 levels."""
    found = image + _NOISE * rng.standard_normal(image.shape, np.float32)
    levels = np.rint((np.clip(found, -1, 1) + 1) * 127.5)
    return levels.astype(np.float32) / np.float32(127.5) - 1


def _colour(rng: np.random.Generator, count: int, light: tuple[float, float], hue: int | None) -> Floats:
    """Random colours ``(count, 1, 1, 3)``: a brightness, and one of the three colours stronger by chance."""
    colour = rng.uniform(*light, (count, 1, 1, 1)) + rng.uniform(-0.08, 0.08, (count, 1, 1, 3))
    if hue is not None:
        colour[..., hue] += rng.uniform(0.05, 0.35, (count, 1, 1))
    return colour


def _place(rng: np.random.Generator, count: int, horizon: Floats, left: Floats, right: Floats) -> NDArray[np.int64]:
    """Objects that stand on the ground, each at a depth of its own; signs stand beside the road."""
    wanted = rng.integers(1, OBJECTS + 1, count)
    rows = np.arange(count)
    found = np.full((count, OBJECTS, 5), -1, np.int64)
    slots = np.sort(rng.permuted(np.tile(np.arange(6), (count, 1)), axis=1)[:, :OBJECTS], axis=1)
    for i in range(OBJECTS):
        kind = rng.integers(0, 3, count)
        near = 0.3 + 0.7 * (slots[:, i] + rng.uniform(0.2, 0.8, count)) / 6
        bottom = np.clip(horizon + near * (SIZE - horizon), 0, SIZE)
        line = np.minimum(bottom.astype(np.int64), SIZE - 1)
        edges = np.stack([left[rows, line, 0], right[rows, line, 0]], axis=1)
        share = rng.uniform(0.15, 0.85, count)
        beside = rng.integers(0, 2, count)
        centre = edges[:, 0] + share * (edges[:, 1] - edges[:, 0])
        centre = np.where(kind == SIGN, edges[rows, beside] + np.where(beside == 1, 3.0, -3.0), centre)
        size = _SHAPES[kind] * ((bottom - horizon) * rng.uniform(0.8, 1.2, count) + 6)[:, None]
        box = np.stack([centre - size[:, 0] / 2, bottom - size[:, 1], centre + size[:, 0] / 2, bottom], axis=1)
        box = np.clip(np.rint(box), 0, SIZE).astype(np.int64)
        good = (i < wanted) & (box[:, 2] - box[:, 0] >= 3) & (box[:, 3] - box[:, 1] >= 5)
        found[good, i, 0] = kind[good]
        found[good, i, 1:] = box[good]
    return found


def _object(
    rng: np.random.Generator, rows: NDArray[np.int64], x: Floats, y: Floats
) -> tuple[NDArray[np.bool_], Floats]:
    """Pixels of one object of each scene, and their colours."""
    count = len(rows)
    kind = rows[:, 0, None, None]
    left, top, right, bottom = (rows[:, k, None, None] for k in range(1, 5))
    u, v = (x - left) / np.maximum(right - left, 1), (y - top) / np.maximum(bottom - top, 1)
    within = (u > 0) & (u < 1) & (v > 0) & (v < 1) & (kind >= 0)
    cabin = (v > 0.45) | (np.abs(u - 0.5) < 0.32)
    head = (u - 0.5) ** 2 / 0.16 + (v - 0.14) ** 2 / 0.02 < 1
    person = head | ((v > 0.26) & (np.abs(u - 0.5) < 0.5 - 0.25 * (v > 0.6)))
    disk = (u - 0.5) ** 2 / 0.25 + (v - 0.25) ** 2 / 0.0625 < 1
    sign = disk | ((np.abs(u - 0.5) < 0.09) & (v > 0.25))
    inside = within & np.select([kind == VEHICLE, kind == PEDESTRIAN, kind == SIGN], [cabin, person, sign], False)
    body = rng.uniform(-0.9, 0.9, (count, 1, 1, 3))
    window = (kind == VEHICLE) & (v > 0.1) & (v < 0.42) & (np.abs(u - 0.5) < 0.26)
    wheel = (kind == VEHICLE) & (v > 0.8) & ((np.abs(u - 0.2) < 0.1) | (np.abs(u - 0.8) < 0.1))
    skin = (kind == PEDESTRIAN) & head
    rim = (kind == SIGN) & disk & ((u - 0.5) ** 2 / 0.25 + (v - 0.25) ** 2 / 0.0625 > 0.5)
    colour = np.where((window | wheel)[..., None], -0.8, body)
    colour = np.where(skin[..., None], np.array([0.7, 0.4, 0.2]), colour)
    colour = np.where(rim[..., None], np.array([0.9, -0.6, -0.6]), colour)
    pole = (kind == SIGN) & ~disk
    return inside, np.where(pole[..., None], 0.1, colour)
