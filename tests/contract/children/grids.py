"""Weights that lie on symmetric grids of 15 numbers, by what shares a scale: NumPy alone, for a child and its test."""

from __future__ import annotations

import numpy as np

OUTPUTS, INPUTS, GROUP = 16, 64, 32
#: A row of weights, or a block of 32 in it.
SHARED = ("rows", "blocks")


def weights(shared: str) -> np.ndarray:
    """The largest of those that share a scale is 7 of its steps."""
    rng = np.random.default_rng(len(shared))
    size = INPUTS if shared == "rows" else GROUP
    steps = rng.integers(-7, 8, (OUTPUTS, INPUTS // size, size))
    steps[..., 3] = rng.choice([-7, 7], steps.shape[:2])
    return (steps * rng.uniform(0.01, 0.2, (*steps.shape[:2], 1))).astype(np.float32).reshape(OUTPUTS, INPUTS)
