"""The digits task enlarged to 32x32, the size that LeNet-5 takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.data.tasks import Samples, Split, Task, digits

TASK = Task(
    title="Handwritten digits, 8x8 grey enlarged to 32x32",
    metric=digits.TASK.metric,
    classes=digits.TASK.classes,
    sizes=digits.TASK.sizes,
    source=digits.TASK.source,
)


def make(split: Split, count: int | None = None) -> Samples:
    """Make ``image`` of shape ``(count, 32, 32, 1)``, float32 in [-1, 1], and labels ``(count,)``.

    Bilinear with half-pixel centres: all weights are eighths, so that float32 holds the result exactly.
    """
    small = digits.make(split, count)
    across = _bilinear(8, 4)
    grey = np.asarray(small.inputs["image"][..., 0], dtype=np.float32)
    return Samples({"image": (across @ grey @ across.T)[..., None]}, small.labels)


def _bilinear(size: int, factor: int) -> NDArray[np.float32]:
    """Interpolation matrix ``(size * factor, size)``; the border repeats."""
    centre = (np.arange(size * factor) + 0.5) / factor - 0.5
    low = np.floor(centre).astype(int)
    part = (centre - low).astype(np.float32)
    matrix = np.zeros((size * factor, size), np.float32)
    at = np.arange(size * factor)
    np.add.at(matrix, (at, np.clip(low, 0, size - 1)), 1 - part)
    np.add.at(matrix, (at, np.clip(low + 1, 0, size - 1)), part)
    return matrix
