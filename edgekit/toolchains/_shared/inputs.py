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
    return {name: np.ascontiguousarray(inputs[name], dtype=dtype) for name, (_, dtype) in takes.items()}


def unknown_entry(kind: str, file: Path, entry: str | None, known: Sequence[str]) -> UsageError:
    """The error for a name that is none of a file's, or for none where it has several."""
    listed = ", ".join(map(repr, known)) or "none"
    if entry is None:
        hint = "Name one: --entry NAME of `edgekit inspect`."
        return UsageError(f"{file.name} has the {kind}s {listed}: which of them is meant is not said", hint=hint)
    return UsageError(f"{file.name} has no {kind} {entry!r}; it has {listed}")
