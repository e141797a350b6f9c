"""Samples of a Python program as a file, written some rows at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data import mapped
from edgekit.data.user import parts_of
from edgekit.errors import UsageError, WrongTypeError

Array = NDArray[np.generic]

#: What NumPy calls arrays that were saved without names, in their order.
PLACE = "arr_"
ALLOWED = (
    "text or a path as of the command line, an array, a dict of arrays by input name, a tuple of arrays in the order "
    "of the inputs with the labels last, a pair (dict, labels), or an iterable of such batches (a DataLoader, a "
    "tf.data.Dataset, a generator)"
)


def text(value: object) -> str | None:
    """Text and paths as text; None of everything else."""
    return str(value) if isinstance(value, str | Path) else None


def write(value: Any, path: Path, option: str) -> None:
    """Write arrays, or batches as they come, into an npz file that ``--calibrate`` and the others take.

    Batches are written one below the other as they come: there may be more of them than fit into memory.

    Raises:
        WrongTypeError: something else.
        UsageError: no array, no batch, batches that do not go together or never end.
    """
    with _saying(option):
        if _is_batch(value):
            mapped.save(path, _batch(value))
            return
        grown: dict[str, mapped.Growing] | None = None
        for batch in _batches(value):
            arrays = _batch(batch)
            grown = grown or {name: mapped.Growing() for name in arrays}
            if arrays.keys() != grown.keys():
                raise UsageError(f"its batches differ: {', '.join(grown)} and {', '.join(arrays)}")
            for name, array in arrays.items():
                try:
                    grown[name].add(array)
                except ValueError as error:
                    raise UsageError(f"its batches do not go together: {error}") from error
        if grown is None:
            raise UsageError("it has no batch")
        mapped.save(path, {name: own.array() for name, own in grown.items()})


@contextlib.contextmanager
def _saying(option: str) -> Iterator[None]:
    """Name the option before what is wrong with its value."""
    try:
        yield
    except UsageError as error:
        raise type(error)(f"{option}: {error}", hint=error.hint or f"{option} takes {ALLOWED}.") from error


def _is_batch(value: object) -> bool:
    """Whether it is arrays, and no iterable of batches."""
    return isinstance(value, Mapping | tuple | list | np.ndarray) or _is_tensor(value)


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__")


def _batches(value: Any) -> Iterator[Any]:
    if hasattr(value, "as_numpy_iterator"):  # tf.data
        if int(value.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
            raise UsageError("this tf.data.Dataset never ends", hint="Give .take(N).")
        yield from value.as_numpy_iterator()
    elif isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        yield from value
    elif hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, bytes | bytearray):
        raise WrongTypeError(
            f"{type(value).__qualname__} gives single samples", hint="Wrap it: torch.utils.data.DataLoader(it)."
        )
    else:
        raise WrongTypeError(f"an object of type {type(value).__qualname__} holds no samples")


def _batch(batch: Any) -> dict[str, Array]:
    """Arrays by name; without names by their place, as ``numpy.savez`` has it."""
    if isinstance(batch, Mapping):
        if not batch:
            raise UsageError("a dict without arrays")
        return {str(name): _array(value, str(name)) for name, value in batch.items()}
    parts: Sequence[Any] = [batch]
    if isinstance(batch, tuple):
        parts = parts_of(batch)
    elif isinstance(batch, list) and batch and all(map(_is_tensor, batch)):
        parts = batch
    if len(parts) == 2 and isinstance(parts[0], Mapping):
        return {**_batch(parts[0]), "y": _array(parts[1], "labels")}
    if not parts:
        raise UsageError("a tuple without arrays")
    return {f"{PLACE}{place}": _array(part, f"array {place}") for place, part in enumerate(parts)}


def _array(value: Any, name: str) -> Array:
    """An array of NumPy, of PyTorch, of TensorFlow, or a list of numbers."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    try:
        found: Array = np.asarray(value)
    except (TypeError, ValueError) as error:  # lists of unlike things
        raise UsageError(f"{name} is no array of samples: {error}") from error
    if found.dtype.kind not in "iubf" or not found.ndim:
        what = f"holds {found.dtype}" if found.ndim else "is one value"
        raise WrongTypeError(
            f"{name}, of type {type(value).__qualname__}, {what}; needed: numbers, whose first axis is the sample"
        )
    return found
