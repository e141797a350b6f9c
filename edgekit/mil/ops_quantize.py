"""Quantization of activations (``quantize``, ``dequantize`` of iOS 17)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def quantize(
    *,
    input: Array,  # noqa: A002  # the specification's name
    scale: Array,
    output_dtype: str,
    zero_point: Array | None = None,
    axis: Array | None = None,
) -> Array:
    """``clip(round(input / scale) + zero_point)``, halves to even; a scale per tensor or along ``axis``."""
    if output_dtype not in ("int8", "uint8"):
        raise ValueError(f"quantize to {output_dtype!r}; known: int8, uint8")
    limits = np.iinfo(output_dtype)
    offset = _along(0 if zero_point is None else zero_point, input, axis)
    values = np.rint(input / _along(scale, input, axis)) + offset
    clipped = np.clip(np.nan_to_num(values, nan=0.0), limits.min, limits.max)
    return clipped.astype(output_dtype)


def dequantize(
    *,
    input: Array,  # noqa: A002
    scale: Array,
    zero_point: Array | None = None,
    axis: Array | None = None,
) -> Array:
    """``scale * (input - zero_point)``."""
    offset = _along(0 if zero_point is None else zero_point, input, axis)
    return (input.astype(np.float32) - offset) * _along(scale, input, axis)


def _along(value: Any, data: Array, axis: Array | None) -> Array:
    array = np.asarray(value, np.float32)
    if array.ndim == 0:
        return array
    if axis is None:
        raise ValueError("scales along an axis need the axis")
    return array.reshape([-1 if a == int(axis) % data.ndim else 1 for a in range(data.ndim)])
