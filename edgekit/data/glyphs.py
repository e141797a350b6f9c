"""Generated characters: each is a few strokes, and each drawing of it moves, turns and bends them a little."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = 28
STROKES = 4
#: Width of a stroke, and how far the ends of one stray from drawing to drawing, in pixels.
_WIDTH, _STRAY = 1.1, 0.9
_NOISE = 0.1

Floats = NDArray[np.float64]


def characters(rng: np.random.Generator, count: int) -> Floats:
    """Characters ``(count, 4, 2, 2)``: ends of strokes in pixels from the middle; each stroke begins near the last."""
    ends = rng.uniform(-8.5, 8.5, (count, STROKES + 1, 2))
    jump = rng.random((count, STROKES)) < 0.25
    starts = np.where(jump[..., None], rng.uniform(-8.5, 8.5, (count, STROKES, 2)), ends[:, :-1])
    return np.stack([starts, ends[:, 1:]], axis=2)


def draw(strokes: Floats, rng: np.random.Generator) -> NDArray[np.float32]:
    """One drawing ``(count, 28, 28, 1)`` of each character: float32 in [0, 1], of 256 levels."""
    count = len(strokes)
    angle, scale = rng.uniform(-0.25, 0.25, (count, 1, 1)), rng.uniform(0.85, 1.1, (count, 1, 1))
    moved = strokes + rng.normal(0, _STRAY, strokes.shape)
    x, y = moved[..., 0], moved[..., 1]
    turned = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=-1)
    placed = turned * scale[..., None] + rng.uniform(-2, 2, (count, 1, 1, 2)) + SIZE / 2
    at = np.arange(SIZE) + 0.5
    ink = np.zeros((count, SIZE, SIZE))
    for i in range(STROKES):
        (ax, ay), (bx, by) = (placed[:, i, end, :, None, None].swapaxes(0, 1) for end in range(2))
        dx, dy = bx - ax, by - ay
        px, py = at[None, None, :] - ax, at[None, :, None] - ay
        along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
        distance = (px - along * dx) ** 2 + (py - along * dy) ** 2
        ink = np.maximum(ink, np.exp(-distance / _WIDTH**2))
    noisy = ink + _NOISE * rng.standard_normal(ink.shape, np.float32)
    levels = np.rint(np.clip(noisy, 0, 1) * 255)
    return (levels.astype(np.float32) / np.float32(255))[..., None]
