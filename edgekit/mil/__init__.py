"""Core ML's ML Programs, read and executed on any machine.

Useful alone::

    from edgekit import mil
    program = mil.load(Path("model.mlpackage"))
    outputs = program.run({"x": array})

Needs coremltools installed for its protobuf classes, but imports nothing else of it.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import DamagedFileError, UsageError
from edgekit.mil.program import Program, load

#: Distributions whose versions change what is done here.
PACKAGES = ("coremltools", "protobuf", "scipy")

__all__ = ["Program", "load", "run_file"]


def run_file(model: Path, inputs: Path, outputs: Path | None = None) -> dict[str, Any]:
    """Execute a package once on arrays from a file.

    Args:
        model: the ``.mlpackage``.
        inputs: npz file with one array per input, named as the inputs (batch of 1 where the program has that).
        outputs: npz file to write; none where it is None.

    Returns:
        ``by`` and ``outputs``: name, shape, dtype, and least, largest and mean value of each (None where not finite).

    Raises:
        UsageError: ``inputs`` is no npz file of plain arrays, or does not fit.
        DamagedFileError, UnsafeInputError, UnsupportedError, NotRunError: see ``load``.
    """
    program = load(model)
    try:
        with np.load(inputs, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{inputs} is no npz file of plain arrays: {error}", hint="Write it with np.savez.") from error
    found = program.run(arrays)
    if outputs is not None:
        try:
            np.savez(outputs, **found)  # type: ignore[arg-type]
        except OSError as error:
            raise UsageError(f"{outputs} cannot be written: {error.strerror or error}") from error
    return {"by": "ML Program evaluator", "outputs": [_row(name, array) for name, array in found.items()]}


def _row(name: str, array: Any) -> dict[str, Any]:
    if array.dtype == object:
        raise DamagedFileError(f"the output {name!r} is no number")
    wide = array.astype(np.float64)
    finite = bool(np.isfinite(wide).all()) and wide.size > 0
    numbers = (float(wide.min()), float(wide.max()), float(wide.mean())) if finite else (None, None, None)
    row = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
    return row | dict(zip(("min", "max", "mean"), numbers, strict=True))
