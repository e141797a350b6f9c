"""Symmetric integers of 8 and of 4 bits, for weights that edgekit itself stores.

The vendor's quantizer leaves them in float, or puts them on a grid from -8 to 7. The grids here have as many steps
below zero as above: weights that lie on such a grid already come out as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest int8 of symmetric quantization: -128 is not used, so that a value and its opposite cost the same.
LARGEST = 127
#: The same of int4, which has -8.
LARGEST_4 = 7
#: Steps by which weights may miss a grid that they lie on: what float32 rounds.
_ON_GRID = 1e-4


def symmetric(
    values: NDArray[np.floating], axes: int | tuple[int, ...]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and their scales: one scale for all values along ``axes``, which the scales keep with length 1.

    ``scale = max |value| / 127``, ``integer = clamp(round_half_even(value / scale))``; zeros alone have a scale, too.
    """
    largest = np.maximum(np.abs(values).max(axis=axes, keepdims=True), np.finfo(np.float32).tiny)
    scale = (largest / np.float32(LARGEST)).astype(np.float32)
    return np.clip(np.rint(values / scale), -LARGEST, LARGEST).astype(np.int8), scale


def blocks(
    values: NDArray[np.floating], output: int, given: int, group: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int4 numbers, one in each int8, and their scales: one for each block of one output channel.

    Args:
        values: weights.
        output: axis of the output channels.
        given: of the input channels, which fall into blocks.
        group: input channels of a block.

    ``scale = max |value| / 7``. Weights that lie on a grid of fewer steps already (that of their whole channel, where a
    block does not reach its end) keep it.

    Returns:
        The numbers, and scales of the same rank: so many as there are output channels, and blocks, and 1 of the rest.
    """
    shape = values.shape
    apart = values.reshape(*shape[:given], shape[given] // group, group, *shape[given + 1 :])
    own = (output + (output > given), given)
    rest = tuple(axis for axis in range(apart.ndim) if axis not in own)
    largest = lengths(apart, rest)
    scale = (largest / _steps(apart / largest, rest, LARGEST_4)).astype(np.float32)
    integers = np.clip(np.rint(apart / scale), -LARGEST_4, LARGEST_4).astype(np.int8)
    return integers.reshape(shape), scale.squeeze(given + 1)


def packed(integers: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Numbers of 4 bits, two in a byte along the last axis, the first in its lower half."""
    low, high = integers[..., 0::2] & 15, integers[..., 1::2] & 15
    return (low | (high << 4)).astype(np.uint8)


def lengths(values: NDArray[np.floating], axes: tuple[int, ...]) -> NDArray[np.floating]:
    """The largest absolute value along some axes; 1 where all is zero: runtimes refuse scales below the normal."""
    largest = np.abs(values).max(axis=axes, keepdims=True)
    return np.where(largest < LARGEST * np.finfo(np.float32).tiny, np.ones_like(largest), largest)


def whole_steps(relative: NDArray[np.floating], axes: int) -> NDArray[np.floating]:
    """Steps of int8 up to the largest of numbers that are told relative to it.

    As many as a grid has below 8 steps that the numbers lie on, times a whole number; else all.
    """
    found = _steps(relative, (axes,), 0)
    return np.where(found > 0, found * (LARGEST // np.maximum(found, 1)), LARGEST)


def _steps(relative: NDArray[np.floating], axes: tuple[int, ...], otherwise: int) -> NDArray[np.floating]:
    """How many steps of a grid reach from 0 to 1: the fewest, up to 7, on which all numbers along some axes lie."""
    found = np.full([1 if axis in axes else size for axis, size in enumerate(relative.shape)], otherwise, np.float32)
    for steps in range(LARGEST_4, 0, -1):
        places = relative * np.float32(steps)
        found[np.abs(places - np.rint(places)).max(axis=axes, keepdims=True) <= _ON_GRID] = steps
    return found
