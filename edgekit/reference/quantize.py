"""Fake quantization: symmetric of weights, with a zero point of activations."""

from __future__ import annotations

import numpy as np

from edgekit.reference import Array


def fake_quantized(weights: Array, bits: int, group: int | None = None) -> Array:
    """Weights ``(rows, inputs)`` as integers of so many bits represent them, one scale for each block of a row.

    The most negative integer is not used. A block whose weights are all zero stays zero.
    """
    largest = 2 ** (bits - 1) - 1
    rows, inputs = weights.shape
    size = group or inputs
    found = np.zeros((rows, inputs))
    for row in range(rows):
        for start in range(0, inputs, size):
            block = np.asarray(weights[row, start : start + size], np.float64)
            most = np.float32(np.abs(block).max())
            if most > 0:
                scale = float(most / np.float32(largest))  # runtimes store it as a float32
                found[row, start : start + size] = np.rint(block / scale) * scale
    return found


def fake_quantized_to(values: Array, scale: float, zero_point: int, bits: int = 8) -> Array:
    """Activations as signed integers of so many bits represent them, with one scale and one zero point."""
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    integers = (min(max(round(float(value) / scale) + zero_point, least), most) for value in values.reshape(-1))
    return np.array([(integer - zero_point) * scale for integer in integers]).reshape(values.shape)


def rounded_bias(bias: Array, input_scale: float, weights: Array, bits: int = 8) -> Array:
    """A bias as integers represent it: one step for each row of the weights, that of what is multiplied times theirs.

    Args:
        bias: of each row.
        input_scale: step of what the weights multiply.
        weights: ``(rows, inputs)``, of so many bits, with one scale for each row; folded where a norm is.
        bits: of the weights.
    """
    largest = 2 ** (bits - 1) - 1
    found = np.zeros(len(bias))
    for row, value in enumerate(bias):
        step = float(input_scale) * float(np.abs(weights[row]).max()) / largest
        found[row] = round(float(value) / step) * step if step else float(value)
    return found
