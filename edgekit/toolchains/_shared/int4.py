"""Symmetric int4 in blocks, for weights that edgekit itself stores: vendors' tools know one grid, and lose the others.

A block takes the grid that is closest to it, of those that reach its largest value. Weights that lie on a symmetric
grid already, since they were rounded or trained on it, so come out as they are, also where a block does not reach the
end of the grid; others gain the number -8, and with it 1.1 dB (normal distribution, blocks of 32).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEAST, LARGEST = -8, 7
#: What the value farthest from zero becomes. A grid on which it is 3 or less lies on one of these; with -8 the scale
#: of a positive value is negative.
ENDS = (7, 6, 5, 4, -8)


def symmetric(
    values: NDArray[np.floating], group: int, ends: Sequence[int] = ENDS
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers ``(..., blocks, group)`` and scales ``(..., blocks)`` of blocks along the last axis.

    A last block of fewer values is filled up with zeros. Of grids that are equally close the first counts.
    """
    missing = -values.shape[-1] % group
    filled = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    blocks = filled.reshape(*values.shape[:-1], -1, group).astype(np.float32)
    farthest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)
    farthest = np.where(farthest == 0, np.float32(1), farthest)
    integers, scales, errors = np.zeros(blocks.shape, np.int8), np.ones_like(farthest), np.full_like(farthest, np.inf)
    for end in ends:
        scale = (np.abs(farthest) if end > 0 else farthest) / np.float32(end)
        rounded = np.clip(np.rint(blocks / scale), LEAST, LARGEST)
        error = np.square(rounded * scale - blocks).sum(-1, keepdims=True)
        closer = error < errors
        integers = np.where(closer, rounded, integers).astype(np.int8)
        scales, errors = np.where(closer, scale, scales), np.where(closer, error, errors)
    return integers, scales[..., 0]


def packed(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two numbers in a byte along the last axis, the first in its lower half."""
    low, high = integers[..., 0::2] & 15, integers[..., 1::2] & 15
    return (low | (high << 4)).astype(np.uint8)
