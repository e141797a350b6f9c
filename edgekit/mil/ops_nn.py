"""Convolution, pooling, products, norms, attention, resizing: ``(n, c, *space)``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Pads = list[tuple[int, int]]


def conv(
    *,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: Array | int = 1,
) -> Array:
    """Cross-correlate ``(n, c, *space)`` with ``(c_out, c / groups, *kernel)``, one to three axes of space."""
    kernel = weight.shape[2:]
    steps, spread = _ints(strides, len(kernel), 1), _ints(dilations, len(kernel), 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, spread, strict=True)]
    x = _padded(x, _paddings(x.shape[2:], reach, steps, pad_type, pad), 0.0)
    group = int(groups)
    if x.shape[1] != weight.shape[1] * group or weight.shape[0] % group:
        raise ValueError(f"{x.shape[1]} channels do not fit weights {weight.shape} in {group} groups")
    if math.prod(kernel) == 1 and group == 1:
        thinned = x[_index(..., *(slice(None, None, s) for s in steps))]
        flat = thinned.reshape(*thinned.shape[:2], -1)
        y = np.matmul(weight.reshape(weight.shape[:2]), flat).reshape(len(x), -1, *thinned.shape[2:])
    elif weight.shape[1] == 1 and weight.shape[0] == group:
        y = _depthwise(x, weight, steps, spread)
    else:
        shares = zip(np.split(x, group, axis=1), np.split(weight, group), strict=True)
        y = np.concatenate([_dense(part, kernels, reach, steps, spread) for part, kernels in shares], axis=1)
    return y if bias is None else y + _per_channel(bias, y.ndim)


def _dense(x: Array, weight: Array, reach: list[int], steps: list[int], spread: list[int]) -> Array:
    axes = tuple(range(2, x.ndim))
    windows = sliding_window_view(x, reach, axis=axes)  # type: ignore[call-overload]
    strided = windows[_index(..., *(slice(None, None, n) for n in (*steps, *spread)))]
    taps = [1, *range(x.ndim, strided.ndim)]
    summed = np.tensordot(strided, weight, axes=(taps, list(range(1, weight.ndim))))
    return np.moveaxis(summed, -1, 1)


def _depthwise(x: Array, weight: Array, steps: list[int], spread: list[int]) -> Array:
    total: Array | None = None
    for tap, view in _taps(x, weight.shape[2:], steps, spread):
        part = view * _per_channel(weight[_index(slice(None), 0, *tap)], x.ndim)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


def conv_transpose(
    *,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    pad: Array | None = None,
    output_shape: Array | None = None,
    pad_type: str = "valid",
    strides: Array | None = None,
    dilations: Array | None = None,
    groups: Array | int = 1,
) -> Array:
    """Transposed convolution of ``(n, c, *space)`` with ``(c, c_out / groups, *kernel)``: every input is spread out."""
    kernel, space, group = weight.shape[2:], x.shape[2:], int(groups)
    steps, spread = _ints(strides, len(kernel), 1), _ints(dilations, len(kernel), 1)
    full = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(space, steps, kernel, spread, strict=True)]
    canvas = np.zeros((len(x), weight.shape[1] * group, *_room(full)), np.float32)
    for index in range(group):
        part = np.split(x, group, axis=1)[index]
        kernels = np.split(weight, group)[index]
        channels = slice(index * weight.shape[1], (index + 1) * weight.shape[1])
        for tap in itertools.product(*(range(k) for k in kernel)):
            share = np.moveaxis(np.tensordot(part, kernels[_index(..., *tap)], axes=(1, 0)), -1, 1)
            place = (
                slice(t * d, t * d + (n - 1) * s + 1, s) for t, d, n, s in zip(tap, spread, space, steps, strict=True)
            )
            canvas[(slice(None), channels, *place)] += share
    y = _cropped(canvas, _transposed_crop(full, space, steps, pad_type, pad, output_shape))
    return y if bias is None else y + _per_channel(bias, y.ndim)


def _transposed_crop(
    full: list[int],
    space: tuple[int, ...],
    steps: list[int],
    pad_type: str,
    pad: Array | None,
    output_shape: Array | None,
) -> list[tuple[int, int]]:
    """First position and size along each axis of space, in the full result; it may reach beyond (zeros)."""
    if pad_type == "custom":
        given = _ints(pad, 2 * len(full), 0)
        begins = given[::2]
        sizes = [f - a - b for f, a, b in zip(full, given[::2], given[1::2], strict=True)]
    elif pad_type in ("same", "same_lower"):
        sizes = [n * s for n, s in zip(space, steps, strict=True)]
        low = 1 if pad_type == "same_lower" else 0
        begins = [max(f - n + low, 0) // 2 for f, n in zip(full, sizes, strict=True)]
    else:
        begins, sizes = [0] * len(full), full
    if output_shape is not None:
        sizes = [int(n) for n in output_shape][-len(full) :]
    return list(zip(begins, sizes, strict=True))


def _cropped(canvas: Array, crops: list[tuple[int, int]]) -> Array:
    for axis, (begin, size) in enumerate(crops, 2):
        canvas = canvas[(slice(None),) * axis + (slice(begin, begin + size),)]
        missing = size - canvas.shape[axis]
        if missing:
            canvas = np.pad(canvas, [(0, missing if a == axis else 0) for a in range(canvas.ndim)])
    return canvas


def max_pool(
    *,
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    ceil_mode: Array | bool = False,
) -> Array:
    """Largest value in each window; padding never wins."""
    padded, kernel, steps, _ = _pooling(x, kernel_sizes, strides, pad_type, pad, bool(ceil_mode), -np.inf)
    largest: Array | None = None
    for _, view in _taps(padded, kernel, steps, [1] * len(steps)):
        largest = view if largest is None else np.maximum(largest, view)
    assert largest is not None
    return largest


def avg_pool(
    *,
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    exclude_padding_from_average: Array | bool = False,
    ceil_mode: Array | bool = False,
) -> Array:
    """Mean of each window; padding counts as zeros, or not at all."""
    padded, kernel, steps, extra = _pooling(x, kernel_sizes, strides, pad_type, pad, bool(ceil_mode), 0.0)
    total = sum(view for _, view in _taps(padded, kernel, steps, [1] * len(steps)))
    counted = np.ones((1, 1, *x.shape[2:]), np.float32)
    pads = extra if bool(exclude_padding_from_average) else [(0, 0)] * len(extra)
    if not bool(exclude_padding_from_average):
        counted = np.ones((1, 1, *padded.shape[2:]), np.float32)
    counted = _padded(counted, pads, 0.0)
    divisor = sum(view for _, view in _taps(counted, kernel, steps, [1] * len(steps)))
    return np.asarray(total / divisor)


def _pooling(
    x: Array, kernel_sizes: Array, strides: Array | None, pad_type: str, pad: Array | None, ceil: bool, fill: float
) -> tuple[Array, tuple[int, ...], list[int], Pads]:
    kernel = tuple(int(k) for k in kernel_sizes)
    steps = _ints(strides, len(kernel), 1)
    pads = _paddings(x.shape[2:], list(kernel), steps, pad_type, pad)
    if ceil:
        pads = [
            (a, b + -(n + a + b - k) % s) if -(n + a + b - k) % s else (a, b)
            for (a, b), n, k, s in zip(pads, x.shape[2:], kernel, steps, strict=True)
        ]
    return _padded(x, pads, fill), kernel, steps, pads


def _paddings(
    space: tuple[int, ...], reach: list[int], steps: list[int], pad_type: str, pad: Array | None
) -> list[tuple[int, int]]:
    """Positions added before and after each axis of space; ``same`` puts an odd one after, ``same_lower`` before."""
    if pad_type == "valid":
        return [(0, 0)] * len(space)
    if pad_type == "custom":
        given = _ints(pad, 2 * len(space), 0)
        return list(zip(given[::2], given[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"pad_type {pad_type!r}")
    found = []
    for n, k, s in zip(space, reach, steps, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        less, more = total // 2, total - total // 2
        found.append((less, more) if pad_type == "same" else (more, less))
    return found


def linear(*, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``x weight^T + bias``."""
    y = np.matmul(x, weight.T)
    return y if bias is None else y + bias


def matmul(*, x: Array, y: Array, transpose_x: Array | bool = False, transpose_y: Array | bool = False) -> Array:
    """Matrix product over the last two axes, broadcast over the others."""
    left = np.swapaxes(x, -1, -2) if bool(transpose_x) and x.ndim > 1 else x
    right = np.swapaxes(y, -1, -2) if bool(transpose_y) and y.ndim > 1 else y
    return np.matmul(left, right)


def einsum(*, values: list[Array], equation: str) -> Array:
    """Einstein summation of the two values."""
    return np.asarray(np.einsum(equation, *values, optimize=True))


def scaled_dot_product_attention(*, query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Array:
    """``softmax(query key^T / sqrt(d) + mask) value``; a bool mask forbids where it is False."""
    scores = np.matmul(query / np.float32(math.sqrt(query.shape[-1])), np.swapaxes(key, -1, -2))
    if attn_mask is not None:
        allowed = attn_mask.dtype == np.bool_
        scores = np.where(attn_mask, scores, np.float32(-np.inf)) if allowed else scores + attn_mask
    return np.matmul(softmax(x=scores), value)


def softmax(*, x: Array, axis: Array | int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    raised = np.exp(x - x.max(axis=int(axis), keepdims=True))
    return np.asarray(raised / raised.sum(axis=int(axis), keepdims=True))


def layer_norm(
    *,
    x: Array,
    axes: Array | None = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """Standardise over ``axes`` (biased variance), scale and shift."""
    over = tuple(int(a) % x.ndim for a in np.ravel(axes)) if axes is not None else tuple(range(x.ndim))
    y = _standardised(x, over, float(epsilon))
    shape = [n if a in over else 1 for a, n in enumerate(x.shape)]
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def batch_norm(
    *,
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """``gamma (x - mean) / sqrt(variance + epsilon) + beta`` per channel (axis 1)."""
    factor = 1 / np.sqrt(variance + np.float32(epsilon))
    factor = factor if gamma is None else factor * gamma
    y = (x - _per_channel(mean, x.ndim)) * _per_channel(factor, x.ndim)
    return y if beta is None else y + _per_channel(beta, x.ndim)


def instance_norm(
    *, x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: Array | float = 1e-5
) -> Array:
    """Standardise each channel of each sample over space."""
    y = _standardised(x, tuple(range(2, x.ndim)), float(epsilon))
    y = y if gamma is None else y * _per_channel(gamma, x.ndim)
    return y if beta is None else y + _per_channel(beta, x.ndim)


def l2_norm(*, x: Array, epsilon: Array | float = 1e-6) -> Array:
    """``x / sqrt(sum(x^2) + epsilon)`` over the last three axes."""
    over = tuple(range(x.ndim - 3, x.ndim))
    return np.asarray(x / np.sqrt(np.square(x).sum(axis=over, keepdims=True) + np.float32(epsilon)))


def _standardised(x: Array, over: tuple[int, ...], epsilon: float) -> Array:
    centred = x - x.mean(axis=over, keepdims=True)
    return np.asarray(centred / np.sqrt(np.square(centred).mean(axis=over, keepdims=True) + np.float32(epsilon)))


def upsample_nearest_neighbor(
    *, x: Array, scale_factor_height: Array | float = 1, scale_factor_width: Array | float = 1
) -> Array:
    """Repeat values of the last two axes."""
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        size = _room([int(x.shape[axis] * float(factor))])[0]
        x = np.take(x, np.minimum(np.arange(size) * x.shape[axis] // max(size, 1), x.shape[axis] - 1), axis=axis)
    return x


def upsample_bilinear(
    *,
    x: Array,
    scale_factor_height: Array | float = 1,
    scale_factor_width: Array | float = 1,
    align_corners: Array | bool = True,
    half_pixel_centers: Array | bool | None = None,
) -> Array:
    """Interpolate the last two axes, by factors; ``half_pixel_centers`` is the opposite of ``align_corners``."""
    factors = ((-2, scale_factor_height), (-1, scale_factor_width))
    mode = "ALIGN_CORNERS" if bool(align_corners) else "UNALIGN_CORNERS"
    if half_pixel_centers is not None and not bool(align_corners) and not bool(half_pixel_centers):
        mode = "DEFAULT"
    for axis, factor in factors:
        x = _interpolated(x, axis, math.floor(x.shape[axis] * float(factor)), mode)
    return x


def resize_nearest_neighbor(*, x: Array, target_size_height: Array, target_size_width: Array) -> Array:
    """Take the nearest value below, the last two axes."""
    for axis, size in ((-2, int(target_size_height)), (-1, int(target_size_width))):
        x = np.take(x, np.arange(_room([size])[0]) * x.shape[axis] // max(size, 1), axis=axis)
    return x


def resize_bilinear(
    *, x: Array, target_size_height: Array | int = 1, target_size_width: Array | int = 1, sampling_mode: str = "DEFAULT"
) -> Array:
    """Interpolate the last two axes, to a size."""
    for axis, size in ((-2, int(target_size_height)), (-1, int(target_size_width))):
        x = _interpolated(x, axis, size, sampling_mode)
    return x


def _interpolated(x: Array, axis: int, size: int, mode: str) -> Array:
    """Linear interpolation along one axis; where the samples lie is what ``sampling_mode`` says."""
    before, index = x.shape[axis], np.arange(_room([size])[0], dtype=np.float64)
    spacings = {
        "ALIGN_CORNERS": lambda: index * ((before - 1) / max(size - 1, 1)),
        "STRICT_ALIGN_CORNERS": lambda: index * ((before - 1) / max(size - 1, 1)),
        "UNALIGN_CORNERS": lambda: (index + 0.5) * (before / max(size, 1)) - 0.5,
        "DEFAULT": lambda: index * (before / max(size, 1)),
    }
    if mode not in spacings:
        raise ValueError(f"sampling_mode {mode!r}; known: {', '.join(spacings)}")
    at = np.clip(spacings[mode](), 0, before - 1)
    low = np.floor(at).astype(np.int64)
    share = (at - low).astype(np.float32).reshape([-1] + [1] * (-axis - 1))
    high = np.minimum(low + 1, before - 1)
    return np.take(x, low, axis=axis) * (1 - share) + np.take(x, high, axis=axis) * share


def _index(*parts: Any) -> tuple[Any, ...]:
    return parts


def _ints(values: Array | None, count: int, default: int) -> list[int]:
    if values is None:
        return [default] * count
    found = [int(v) for v in np.ravel(values)]
    if len(found) != count:
        raise ValueError(f"{count} numbers are needed, {len(found)} given")
    return found


def _room(sizes: list[int]) -> list[int]:
    """Refuse sizes that only a damaged file has."""
    if any(n < 0 for n in sizes) or math.prod(sizes) > 2**28:
        raise ValueError(f"a tensor of {sizes} elements")
    return sizes


def _padded(x: Array, pads: Pads, fill: float) -> Array:
    if not any(a or b for a, b in pads):
        return x
    _room([n + a + b for n, (a, b) in zip(x.shape[2:], pads, strict=True)])
    return np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)


def _per_channel(values: Array, rank: int) -> Array:
    return values.reshape([-1] + [1] * (rank - 2))


def _taps(
    x: Array, kernel: tuple[int, ...], steps: list[int], spread: list[int]
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Each position of the kernel with the values that it meets."""
    last = [(n - (k - 1) * d - 1) // s * s + 1 for n, k, s, d in zip(x.shape[2:], kernel, steps, spread, strict=True)]
    if min(last, default=1) < 1:
        raise ValueError(f"a kernel {kernel} does not fit into {x.shape[2:]}")
    for tap in itertools.product(*(range(k) for k in kernel)):
        place = (slice(t * d, t * d + n, s) for t, d, n, s in zip(tap, spread, last, steps, strict=True))
        yield tap, x[(slice(None), slice(None), *place)]
