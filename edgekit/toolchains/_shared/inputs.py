"""What is fed into a file, held against what the file takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]


def check_shapes(inputs: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ``UsageError`` where names or shapes differ from those that the file takes; -1 takes any size."""
    if set(inputs) != set(shapes):
        raise UsageError(f"inputs are {', '.join(sorted(inputs))}; the file takes {', '.join(shapes)}")
    for name, shape in shapes.items():
        given = np.shape(inputs[name])
        if len(given) != len(shape) or any(size not in (-1, own) for own, size in zip(given, shape, strict=True)):
            raise UsageError(f"input {name!r} has shape {given}; the file takes {shape}")


def checked(
    inputs: Arrays, takes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
) -> dict[str, NDArray[np.generic]]:
    """Inputs as the runtime takes them, in the file's order: contiguous, of its types.

    Raises:
        UsageError: names or shapes differ, or floats were given for integers.
    """
    check_shapes(inputs, {name: shape for name, (shape, _) in takes.items()})
    for name, (_, dtype) in takes.items():
        if not np.can_cast(inputs[name].dtype, dtype, casting="same_kind"):
            raise UsageError(f"input {name!r} is {inputs[name].dtype.name}; the file takes {dtype.name}")
    return {name: np.ascontiguousarray(narrowed(name, inputs[name], dtype)) for name, (_, dtype) in takes.items()}


def narrowed(name: str, array: NDArray[Any], dtype: np.dtype[Any] | str) -> NDArray[Any]:
    """An input in the file's type; raises ``UsageError`` on an integer that this type does not hold."""
    dtype = np.dtype(dtype)
    found = array.astype(dtype, copy=False)
    if array.dtype.kind in "iu" and dtype.kind in "iu" and found is not array and (found != array).any():
        beyond = array[found != array].flat[0]
        limits = np.iinfo(dtype)
        raise UsageError(
            f"input {name!r} holds {beyond}; the file takes {dtype.name}, from {limits.min} to {limits.max}",
            hint="Give numbers that this type holds: the file has it in the place of the model's own.",
        )
    return found


def unknown_entry(kind: str, file: Path, entry: str | None, known: Sequence[str]) -> UsageError:
    """The error for a name that is none of a file's, or for none where it has several."""
    listed = ", ".join(map(repr, known)) or "none"
    if entry is None:
        hint = "Name one: --entry NAME of `edgekit inspect`."
        return UsageError(f"{file.name} has the {kind}s {listed}: which of them is meant is not said", hint=hint)
    return UsageError(f"{file.name} has no {kind} {entry!r}; it has {listed}")
