"""Decoding of compressed constants, written from the descriptions in the MIL specification (``constexpr_*``).

Each function takes the operator's inputs by their names in the specification, as arrays, and returns the dense
array. Arithmetic is in float32; the program rounds the result to its declared type. The names are used by two
generations of operators: the first of iOS 16, the second (blockwise) of iOS 18; they differ in their inputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.mil.values import unpack

Array = NDArray[Any]


def constexpr_affine_dequantize(*, quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """``scale * (quantized_data - zero_point)``; both are scalars or vectors along ``axis``."""
    shape = [1] * quantized_data.ndim
    shape[int(axis)] = -1
    factor, offset = (np.asarray(p, np.float32).reshape(shape if np.ndim(p) else ()) for p in (scale, zero_point))
    decoded: Array = factor * (quantized_data.astype(np.float32) - offset)
    return decoded


def constexpr_blockwise_shift_scale(*, data: Array, scale: Array, offset: Array | None = None) -> Array:
    """``scale * (data - offset)``, one scale (and offset) per block of ``data.shape / scale.shape``."""
    centred = data.astype(np.float32)
    if offset is not None:
        centred = centred - _spread(offset.astype(np.float32), data.shape)
    return centred * _spread(scale.astype(np.float32), data.shape)


def constexpr_lut_to_dense(
    *, indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None
) -> Array:
    """Look indices up in one table (iOS 16: packed indices, ``shape`` given) or in one table per block (iOS 18).

    In the second form ``lut`` is ``(*blocks, entries, vector)``: each index stands for ``vector`` elements, laid out
    along ``vector_axis``.
    """
    if shape is not None:
        size = [int(n) for n in shape]
        bits = int(math.log2(lut.size))
        if 2**bits != lut.size:
            raise ValueError(f"a table has 2^n entries, this one {lut.size}")
        return lut[unpack(indices, bits, math.prod(size))].reshape(size)
    *blocks, entries, vector = lut.shape
    if len(blocks) != indices.ndim or indices.size == 0 or int(indices.max()) >= entries:
        raise ValueError(f"indices of shape {indices.shape} do not fit tables of shape {lut.shape}")
    table = np.zeros(indices.shape, np.int64)  # which block each element is in, as a flat number
    for axis, count in enumerate(blocks):
        along = np.arange(indices.shape[axis]) // _block(indices.shape[axis], count)
        table = table * count + along.reshape([-1 if a == axis else 1 for a in range(indices.ndim)])
    dense = lut.reshape(-1, entries, vector)[table, indices]
    if vector == 1:
        return dense[..., 0]
    if vector_axis is None:
        raise ValueError("a table of vectors needs vector_axis")
    axis = int(vector_axis) % indices.ndim
    target = [n * vector if a == axis else n for a, n in enumerate(indices.shape)]
    return np.moveaxis(dense, -1, axis + 1).reshape(target)


def constexpr_sparse_to_dense(*, nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """Put values where the mask has ones (iOS 16: packed mask, ``shape`` given; iOS 18: one number per element)."""
    if shape is not None:
        size = [int(n) for n in shape]
        mask = unpack(mask, 1, math.prod(size)).reshape(size)
    places = mask.astype(bool)
    if int(places.sum()) != nonzero_data.size:
        raise ValueError(f"the mask has {int(places.sum())} ones for {nonzero_data.size} values")
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[places] = nonzero_data.ravel()
    return dense


def constexpr_sparse_blockwise_shift_scale(
    *, data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """Return the mask and the values ``scale * (data - offset)`` at its ones; the rest is zero whatever the offset."""
    places = data_mask.astype(bool)
    dense = constexpr_sparse_to_dense(nonzero_data=nonzero_data, mask=data_mask)
    return data_mask, constexpr_blockwise_shift_scale(data=dense, scale=scale, offset=offset)[places]


def constexpr_lut_to_sparse(
    *, indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: Array | None = None
) -> tuple[Array, Array]:
    """Return the mask of the decoded array and the values at its ones."""
    dense = constexpr_sparse_to_dense(nonzero_data=indices_nonzero_data, mask=indices_mask)
    mask = indices_mask
    if lut.shape[-1] > 1 and vector_axis is not None:
        mask = np.repeat(indices_mask, lut.shape[-1], axis=int(vector_axis))
    return mask, constexpr_lut_to_dense(indices=dense, lut=lut, vector_axis=vector_axis)[mask.astype(bool)]


def constexpr_cast(*, source_val: Array, output_dtype: str) -> Array:
    """Widen float16 to float32; nothing else is specified."""
    if output_dtype != "fp32":
        raise ValueError(f"constexpr_cast gives fp32, not {output_dtype}")
    return source_val.astype(np.float32)


def _spread(values: Array, shape: tuple[int, ...]) -> Array:
    """Repeat values per block so that they have ``shape``."""
    if values.ndim != len(shape):
        raise ValueError(f"shape {values.shape} has another rank than the data's {shape}")
    for axis, size in enumerate(shape):
        if values.shape[axis] != size:
            values = np.repeat(values, _block(size, values.shape[axis]), axis=axis)
    return values


def _block(size: int, count: int) -> int:
    if not count or size % count:
        raise ValueError(f"{size} elements do not fall into {count} equal blocks")
    return size // count
