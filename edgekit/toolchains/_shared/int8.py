"""Symmetric int8, for weights that edgekit itself stores because the vendor's quantizer leaves them in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest int8 of symmetric quantization: -128 is not used, so that a value and its opposite cost the same.
LARGEST = 127


def symmetric(
    values: NDArray[np.floating], axes: int | tuple[int, ...]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and their scales: one scale for all values along ``axes``, which the scales keep with length 1.

    ``scale = max |value| / 127``, ``integer = clamp(round_half_even(value / scale))``; zeros alone have a scale, too.
    """
    largest = np.maximum(np.abs(values).max(axis=axes, keepdims=True), np.finfo(np.float32).tiny)
    scale = (largest / np.float32(LARGEST)).astype(np.float32)
    return np.clip(np.rint(values / scale), -LARGEST, LARGEST).astype(np.int8), scale
