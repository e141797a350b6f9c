"""Arrays in ``.npz`` files, some rows at a time: a child that has converted a model has little memory to spare.

The files are those of ``numpy.savez``: uncompressed, one ``.npy`` per array, whose format NumPy documents in
``numpy.lib.format``. The first axis is the sample.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgekit.errors import UsageError

#: Rows that are read at a time.
ROWS = 128


def read(path: Path, prefix: str) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the arrays whose names begin with ``prefix``, without it, ``ROWS`` rows at a time.

    Raises:
        UsageError: the arrays differ in their number of rows, there is none, or one is not stored row after row.
    """
    with zipfile.ZipFile(path) as archive, contextlib.ExitStack() as stack:
        names = [name for name in archive.namelist() if name.startswith(prefix)]
        opened = {n.removeprefix(prefix).removesuffix(".npy"): stack.enter_context(archive.open(n)) for n in names}
        shapes = {name: _header(file, name) for name, file in opened.items()}
        counts = {shape[0] for shape, _ in shapes.values()}
        if len(counts) != 1 or 0 in counts:
            raise UsageError(f"inputs must hold one and the same number of samples, at least 1; got {sorted(counts)}")
        [count] = counts
        for start in range(0, count, ROWS):
            size = min(ROWS, count - start)
            yield {name: _rows(file, size, *shapes[name]) for name, file in opened.items()}


def write(path: Path, prefix: str, parts: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Write parts of the same arrays below each other; the file's bytes depend on the values alone."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, contextlib.ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        headers: dict[str, dict[str, Any]] = {}
        for part in parts:
            for name, array in part.items():
                if name not in files:
                    files[name] = stack.enter_context((Path(scratch) / str(len(files))).open("w+b"))
                    shape = (0, *array.shape[1:])
                    headers[name] = {"descr": npy.dtype_to_descr(array.dtype), "fortran_order": False, "shape": shape}
                files[name].write(array.tobytes())
                total, *rest = headers[name]["shape"]
                headers[name]["shape"] = (total + len(array), *rest)
        with zipfile.ZipFile(path, "w") as archive:
            for name, file in files.items():
                file.seek(0)
                # A ZipInfo made by hand has a constant date, as that of numpy.savez.
                with archive.open(zipfile.ZipInfo(f"{prefix}{name}.npy"), "w", force_zip64=True) as member:
                    npy.write_array_header_1_0(member, headers[name])
                    shutil.copyfileobj(file, member)


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
    shape, fortran, dtype = read_header(file)
    if (fortran and len(shape) > 1) or dtype.hasobject:
        raise UsageError(f"array {name!r} is not stored row after row", hint="Save it with numpy.ascontiguousarray.")
    return shape, dtype


def _rows(file: IO[bytes], count: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = count * math.prod(shape[1:]) * dtype.itemsize
    return np.frombuffer(bytearray(file.read(size)), dtype).reshape(count, *shape[1:])
