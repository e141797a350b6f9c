"""Lists of tensors, and states. A list is a Python list that is never changed in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_TYPES = {"fp16": np.float32, "fp32": np.float32, "int32": np.int32, "bool": np.bool_}
_MOST = 100_000


@dataclass
class State:
    """A tensor that outlives a run; float16 is held as float32."""

    value: Array


def make_list(
    *,
    elem_shape: list[Array] | Array,
    init_length: Array | int = 1,
    dynamic_length: Array | bool = True,
    dtype: str = "fp32",
) -> list[Array]:
    """A list of zeros."""
    if not 0 <= int(init_length) <= _MOST:
        raise ValueError(f"a list of {int(init_length)} tensors")
    size = [int(n) for n in elem_shape]
    return [np.zeros(size, _TYPES[dtype]) for _ in range(int(init_length))]


def list_length(*, ls: list[Array]) -> Array:
    """Number of tensors."""
    return np.array(len(ls), np.int32)


def list_write(*, ls: list[Array], index: Array, value: Array) -> list[Array]:
    """The list with one tensor replaced; it grows to hold it."""
    place = _place(index)
    if place > _MOST:
        raise ValueError(f"a list of {place + 1} tensors")
    grown = ls + [np.zeros_like(value)] * (place + 1 - len(ls))
    return [*grown[:place], value, *grown[place + 1 :]]


def list_read(*, ls: list[Array], index: Array) -> Array:
    """One tensor."""
    return ls[_place(index)]


def list_gather(*, ls: list[Array], indices: Array) -> Array:
    """Some tensors, stacked."""
    return np.stack([ls[int(i)] for i in np.ravel(indices)])


def list_scatter(*, ls: list[Array], indices: Array, value: Array) -> list[Array]:
    """The list with tensors replaced by the rows of ``value``."""
    for index, row in zip(np.ravel(indices), value, strict=True):
        ls = list_write(ls=ls, index=index, value=row)
    return ls


def read_state(*, input: State) -> Array:  # noqa: A002  # the specification's name
    """What the state holds now."""
    return input.value.copy()


def write_state(*, input: State, data: Array) -> tuple[()]:  # noqa: A002
    """Replace what the state holds."""
    if input.value.shape != data.shape:
        raise ValueError(f"a state of shape {input.value.shape} cannot hold {data.shape}")
    input.value = data
    return ()


def coreml_update_state(*, state: State, value: Array) -> Array:
    """Replace and read."""
    write_state(input=state, data=value)
    return value


def _place(index: Array) -> int:
    place = int(np.asarray(index).item())
    if place < 0:
        raise ValueError(f"list index {place}")
    return place
