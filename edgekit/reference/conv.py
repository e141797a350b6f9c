"""Convolutions in two dimensions, channels last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from edgekit.reference import Array

Pair: TypeAlias = tuple[int, int]
#: Zeros added ``((top, bottom), (left, right))``.
Padding: TypeAlias = tuple[Pair, Pair]

NO_PADDING: Padding = ((0, 0), (0, 0))


def same_padding(size: Pair, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)) -> Padding:
    """Return TensorFlow's SAME padding: the output has ``ceil(size / stride)`` positions, an odd zero goes last.

    PyTorch's ``padding=k // 2`` is ``((k // 2, k // 2), ...)`` instead: with stride 2 and an even size the two differ.
    """

    def one(axis: int) -> Pair:
        positions = -(-size[axis] // stride[axis])
        reach = (positions - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1
        total = max(reach - size[axis], 0)
        return total // 2, total - total // 2

    return one(0), one(1)


def conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Cross-correlate, as every framework calls convolution.

    Args:
        x: ``(n, h, w, c_in)``.
        kernel: ``(kh, kw, c_in / groups, c_out)``; output channels of one group lie together.
        bias: ``(c_out,)``.
        stride: step of the kernel, rows and columns.
        padding: zeros around the input.
        dilation: step between the kernel's own positions.
        groups: independent slices of the channels; ``c_in`` of them make a depthwise convolution.

    Returns:
        ``(n, h', w', c_out)`` with ``h' = (h + top + bottom - dilation * (kh - 1) - 1) // stride + 1``.
    """
    padded = _pad(x, padding)
    size = _output_size(padded, kernel, stride, dilation)
    grouped = _by_group(kernel, groups)
    out = np.zeros((len(x), *size, groups, kernel.shape[3] // groups))
    for i, j, rows, columns in _taps(kernel, size, stride, dilation):
        out += np.einsum("nhwgc,cgo->nhwgo", _split(padded[:, rows, columns], groups), grouped[i, j])
    flat = out.reshape(len(x), *size, kernel.shape[3])
    return flat if bias is None else flat + bias


def conv2d_vjp(
    grad: Array,
    x: Array,
    kernel: Array,
    *,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, kernel and bias."""
    padded = _pad(x, padding)
    grouped, grads = _by_group(kernel, groups), _split(grad, groups)
    d_padded, d_kernel = np.zeros_like(padded), np.zeros_like(grouped)
    size = (grad.shape[1], grad.shape[2])
    for i, j, rows, columns in _taps(kernel, size, stride, dilation):
        d_kernel[i, j] = np.einsum("nhwgc,nhwgo->cgo", _split(padded[:, rows, columns], groups), grads)
        d_padded[:, rows, columns] += np.einsum("nhwgo,cgo->nhwgc", grads, grouped[i, j]).reshape(*grad.shape[:3], -1)
    return _crop(d_padded, padding), d_kernel.reshape(kernel.shape), grad.sum(axis=(0, 1, 2))


def depthwise_conv2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
) -> Array:
    """Convolve each channel alone.

    Args:
        x: ``(n, h, w, c)``.
        kernel: ``(kh, kw, c, m)``: ``m`` kernels per channel; their outputs lie together.
        bias: ``(c * m,)``.
        stride: as in ``conv2d``.
        padding: as in ``conv2d``.
        dilation: as in ``conv2d``.
    """
    kh, kw, channels, multiplier = kernel.shape
    flat = kernel.reshape(kh, kw, 1, channels * multiplier)
    return conv2d(x, flat, bias, stride=stride, padding=padding, dilation=dilation, groups=channels)


def conv_transpose2d(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    stride: Pair = (1, 1),
    cropping: Padding = NO_PADDING,
    output_padding: Pair = (0, 0),
) -> Array:
    """Add a copy of the kernel, times each input value, to an output ``stride`` times finer.

    Args:
        x: ``(n, h, w, c_in)``.
        kernel: ``(kh, kw, c_in, c_out)``.
        bias: ``(c_out,)``.
        stride: output positions per input position.
        cropping: rows and columns cut off the full output (what the matching convolution's padding was).
        output_padding: rows and columns added at the end, which no kernel reaches unless they undo cropping.

    Returns:
        ``(n, h', w', c_out)`` with ``h' = (h - 1) * stride + kh + output_padding - top - bottom``.
    """
    size = (x.shape[1], x.shape[2])
    full = [(size[a] - 1) * stride[a] + kernel.shape[a] + output_padding[a] for a in (0, 1)]
    out = np.zeros((len(x), *full, kernel.shape[3]))
    for i, j, rows, columns in _taps(kernel, size, stride, (1, 1)):
        out[:, rows, columns] += np.einsum("nhwc,co->nhwo", np.asarray(x, np.float64), kernel[i, j])
    out = _crop(out, cropping)
    return out if bias is None else out + bias


def conv_transpose2d_vjp(
    grad: Array,
    x: Array,
    kernel: Array,
    *,
    stride: Pair = (1, 1),
    cropping: Padding = NO_PADDING,
) -> tuple[Array, Array, Array]:
    """Return the gradients of input, kernel and bias."""
    full = _pad(grad, cropping)
    d_x, d_kernel = np.zeros_like(x, dtype=np.float64), np.zeros_like(kernel, dtype=np.float64)
    for i, j, rows, columns in _taps(kernel, (x.shape[1], x.shape[2]), stride, (1, 1)):
        d_x += np.einsum("nhwo,co->nhwc", full[:, rows, columns], kernel[i, j])
        d_kernel[i, j] = np.einsum("nhwc,nhwo->co", x, full[:, rows, columns])
    return d_x, d_kernel, grad.sum(axis=(0, 1, 2))


def _taps(kernel: Array, size: Pair, stride: Pair, dilation: Pair) -> Iterator[tuple[int, int, slice, slice]]:
    """Yield each kernel position with the rows and columns of the fine grid that it meets, ``size`` of them."""

    def meets(offset: int, axis: int) -> slice:
        start = offset * dilation[axis]
        return slice(start, start + stride[axis] * (size[axis] - 1) + 1, stride[axis])

    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            yield i, j, meets(i, 0), meets(j, 1)


def _output_size(padded: Array, kernel: Array, stride: Pair, dilation: Pair) -> Pair:
    rows, columns = ((padded.shape[1 + a] - dilation[a] * (kernel.shape[a] - 1) - 1) // stride[a] + 1 for a in (0, 1))
    return rows, columns


def _by_group(kernel: Array, groups: int) -> Array:
    kh, kw, c_in, c_out = kernel.shape
    return np.asarray(kernel, np.float64).reshape(kh, kw, c_in, groups, c_out // groups)


def _split(x: Array, groups: int) -> Array:
    return x.reshape(*x.shape[:3], groups, x.shape[3] // groups)


def _pad(x: Array, padding: Padding) -> Array:
    return np.pad(np.asarray(x, np.float64), ((0, 0), *padding, (0, 0)))


def _crop(x: Array, padding: Padding) -> Array:
    (top, bottom), (left, right) = padding
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]
