"""Keras's operators on PyTorch, where Keras 3.15 writes them so that exports fail or other numbers come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from keras import config
from keras.src.backend.torch import nn, numpy

#: Distributions whose versions change what is done here.
PACKAGES = ("keras", "torch")


def mend() -> None:
    """Replace them in this process, from here on."""
    numpy.split = _at_numbers(numpy.split)
    for name, axis in (("hsplit", 1), ("vsplit", 0), ("dsplit", 2)):
        setattr(numpy, name, _at_numbers(getattr(numpy, name), axis))
    nn.average_pool = _counting_what_is_there(nn.average_pool)


def _at_numbers(original: Callable[..., Any], axis: int | None = None) -> Callable[..., Any]:
    """Let a split take indices as the numbers that they are; ``axis`` is that of a split along a fixed one.

    Keras makes a tensor of them and reads numbers back from it, which torch.export takes for values that depend on the
    input ("aten._local_scalar_dense"). At indices ``array_split`` does the same.
    """

    def split(x: Any, indices_or_sections: Any, *given: Any, **named: Any) -> Any:
        if not isinstance(indices_or_sections, list | tuple | np.ndarray):
            return original(x, indices_or_sections, *given, **named)
        indices = tuple(int(index) for index in indices_or_sections)
        if axis is None:
            return numpy.array_split(x, indices, *given, **named)
        return numpy.array_split(x, indices, axis if len(x.shape) > 1 else 0)  # numbers in one row have no other axis

    return split


def _counting_what_is_there(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let average pooling with "same" padding count what is inside of the image alone.

    Where padding is wider on one side, Keras pads with copies of the edge and counts them: other numbers than
    TensorFlow's at the borders.
    """

    def average_pool(
        inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid", data_format: str | None = None
    ) -> Any:
        if padding != "same":
            return original(inputs, pool_size, strides, padding, data_format)
        last = (data_format or config.image_data_format()) == "channels_last"
        sizes = inputs.shape[1:-1] if last else inputs.shape[2:]
        pads, shares = _same(sizes, _each(pool_size, sizes), _each(strides or pool_size, sizes))
        if all(before == behind for before, behind in pads):
            return original(inputs, pool_size, strides, padding, data_format)
        amounts = [amount for pair in reversed(pads) for amount in pair]
        padded = torch.nn.functional.pad(inputs, [0, 0, *amounts] if last else amounts)
        found = original(padded, pool_size, strides, "valid", data_format)
        shape = (1, *shares.shape, 1) if last else (1, 1, *shares.shape)
        return found * torch.tensor(shares.reshape(shape), dtype=found.dtype, device=found.device)

    return average_pool


def _each(given: int | Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    return (given,) * len(sizes) if isinstance(given, int) else tuple(given)


def _same(
    sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int]
) -> tuple[list[tuple[int, int]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Padding before and behind each axis, and at each place a window's size over how much of it is inside."""
    pads, shares = [], np.ones(())
    for size, window, stride in zip(sizes, windows, strides, strict=True):
        places = np.arange(-(-size // stride)) * stride
        around = max(int(places[-1]) + window - size, 0)
        places = places - around // 2
        inside = np.minimum(places + window, size) - np.maximum(places, 0)
        pads.append((around // 2, around - around // 2))
        shares = np.multiply.outer(shares, window / inside)
    return pads, shares
