"""Pooling in two dimensions, channels last."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgekit.reference import Array
from edgekit.reference.conv import NO_PADDING, Padding, Pair


def max_pool2d(x: Array, window: Pair, *, stride: Pair, padding: Padding = NO_PADDING) -> Array:
    """Return the largest value in each window, ``(n, h, w, c) -> (n, h', w', c)``; padding never wins."""
    largest: Array = np.max(_windows(x, window, stride, padding, -np.inf), axis=0)
    return largest


def max_pool2d_vjp(grad: Array, x: Array, window: Pair, *, stride: Pair, padding: Padding = NO_PADDING) -> Array:
    """Return the gradient of the input; the first of equal maxima gets it."""
    winner = np.argmax(_windows(x, window, stride, padding, -np.inf), axis=0)
    shares = [np.where(winner == tap, grad, 0.0) for tap in range(window[0] * window[1])]
    return _scatter(shares, x, window, stride, padding)


def average_pool2d(
    x: Array, window: Pair, *, stride: Pair, padding: Padding = NO_PADDING, count_padding: bool = False
) -> Array:
    """Return the mean of each window, ``(n, h, w, c) -> (n, h', w', c)``.

    ``count_padding`` divides by the window's full size at the border too, which is PyTorch's default; Keras divides
    by the number of real values.
    """
    total: Array = np.sum(_windows(x, window, stride, padding, 0.0), axis=0)
    return total / _divisor(x, window, stride, padding, count_padding=count_padding)


def average_pool2d_vjp(
    grad: Array, x: Array, window: Pair, *, stride: Pair, padding: Padding = NO_PADDING, count_padding: bool = False
) -> Array:
    """Return the gradient of the input."""
    share = grad / _divisor(x, window, stride, padding, count_padding=count_padding)
    return _scatter([share] * (window[0] * window[1]), x, window, stride, padding)


def global_average_pool2d(x: Array) -> Array:
    """Return the mean over all positions, ``(n, h, w, c) -> (n, c)``."""
    mean: Array = np.asarray(x, np.float64).mean(axis=(1, 2))
    return mean


def global_average_pool2d_vjp(grad: Array, x: Array) -> Array:
    """Return the gradient of the input."""
    return np.broadcast_to(grad[:, None, None] / (x.shape[1] * x.shape[2]), x.shape).copy()


def _divisor(x: Array, window: Pair, stride: Pair, padding: Padding, *, count_padding: bool) -> Array:
    if count_padding:
        return np.array(float(window[0] * window[1]))
    counted: Array = np.sum(_windows(np.ones(x.shape), window, stride, padding, 0.0), axis=0)
    return counted


def _windows(x: Array, window: Pair, stride: Pair, padding: Padding, fill: float) -> Array:
    """Return ``(window positions, n, h', w', c)``."""
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), *padding, (0, 0)), constant_values=fill)
    return np.stack([padded[:, rows, columns] for rows, columns in _taps(padded.shape, window, stride)])


def _scatter(shares: list[Array], x: Array, window: Pair, stride: Pair, padding: Padding) -> Array:
    (top, _), (left, _) = padding
    padded = np.zeros_like(np.pad(np.asarray(x, np.float64), ((0, 0), *padding, (0, 0))))
    for share, (rows, columns) in zip(shares, _taps(padded.shape, window, stride), strict=True):
        padded[:, rows, columns] += share
    return padded[:, top : top + x.shape[1], left : left + x.shape[2]]


def _taps(shape: tuple[int, ...], window: Pair, stride: Pair) -> Iterator[tuple[slice, slice]]:
    last = [(shape[1 + a] - window[a]) // stride[a] * stride[a] for a in (0, 1)]
    for i in range(window[0]):
        for j in range(window[1]):
            yield slice(i, i + last[0] + 1, stride[0]), slice(j, j + last[1] + 1, stride[1])
