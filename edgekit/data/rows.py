"""Arrays in ``.npz`` files, some rows at a time: a child that has converted a model has little memory to spare.

The files are those of ``numpy.savez``: uncompressed, one ``.npy`` per array, whose format NumPy documents in
``numpy.lib.format``. The first axis is the sample.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from edgekit.errors import UsageError

#: Rows that are read at a time, or fewer where they are large: so many bytes of all arrays together, or one row.
ROWS = 128
BYTES = 32 << 20
#: Where a local file header of a zip says how long the name and the extra field are that follow it (APPNOTE 4.3.7).
_NAME_LENGTH = 26

Arrays = dict[str, NDArray[Any]]


def read(path: Path, prefix: str) -> Iterator[Arrays]:
    """Yield the arrays of a file whose names begin with ``prefix``, without it, some rows at a time.

    Raises:
        UsageError: the arrays differ in their number of rows, there is none, or one is not stored row after row.
    """
    for [arrays] in side_by_side((path, prefix)):
        yield arrays


def side_by_side(*sources: tuple[Path, str]) -> Iterator[tuple[Arrays, ...]]:
    """Yield the same rows of several files, each as ``read`` does; raises as ``read`` over all of their arrays."""
    with contextlib.ExitStack() as stack:
        opened = [_open(stack, *source) for source in sources]
        arrays = [array for source in opened for array in source.values()]
        counts = {array.shape[0] for array in arrays}
        if len(counts) != 1 or 0 in counts:
            raise UsageError(f"arrays must hold one and the same number of samples, at least 1; got {sorted(counts)}")
        [count] = counts
        most = min(ROWS, max(1, BYTES // max(1, sum(array.row_bytes for array in arrays))))
        for start in range(0, count, most):
            size = min(most, count - start)
            yield tuple({name: array.take(size) for name, array in source.items()} for source in opened)


def write(path: Path, prefix: str, parts: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Write parts of the same arrays below each other; the file's bytes depend on the values alone."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, contextlib.ExitStack() as stack:
        files: dict[str, IO[bytes]] = {}
        headers: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        for part in parts:
            for name, array in part.items():
                if name not in files:
                    files[name] = stack.enter_context((Path(scratch) / str(len(files))).open("w+b"))
                    headers[name] = array.dtype, (0, *array.shape[1:])
                files[name].write(array.tobytes())
                dtype, (total, *rest) = headers[name]
                headers[name] = dtype, (total + len(array), *rest)
        with zipfile.ZipFile(path, "w") as archive:
            for name, file in files.items():
                file.seek(0)
                # A ZipInfo made by hand has a constant date, as that of numpy.savez.
                with archive.open(zipfile.ZipInfo(f"{prefix}{name}.npy"), "w", force_zip64=True) as member:
                    write_header(member, *headers[name])
                    shutil.copyfileobj(file, member)


def write_header(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write what stands before the elements of an array that is stored row after row."""
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})


@dataclass(frozen=True)
class _Stored:
    """An array of a file, read on from where it was left."""

    file: IO[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def take(self, count: int) -> NDArray[Any]:
        found = bytearray(self.file.read(count * self.row_bytes))
        return np.frombuffer(found, self.dtype).reshape(count, *self.shape[1:])


@dataclass(frozen=True)
class Rows:
    """One array of a file, of which a row is read when it is asked for, and not kept.

    Attributes:
        path: of the file.
        offset: of the array's first byte in it.
        count: rows.
        shape: of one row.
        dtype: of its elements.
    """

    path: Path
    offset: int
    count: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> NDArray[Any]:
        if not 0 <= row < self.count:
            raise IndexError(f"row {row} of {self.count}")
        size = math.prod(self.shape)
        with self.path.open("rb") as file:
            file.seek(self.offset + row * size * self.dtype.itemsize)
            return np.fromfile(file, self.dtype, size).reshape(self.shape)

    def of_shape(self, shape: tuple[int, ...]) -> Rows:
        """The same values in rows of another shape."""
        return replace(self, count=self.count * math.prod(self.shape) // math.prod(shape), shape=shape)


def stored(path: Path, prefix: str) -> dict[str, Rows]:
    """The arrays of a file whose names begin with ``prefix``, without it; only their headers are read.

    Raises:
        UsageError: one is compressed, or not stored row after row.
    """
    found = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            if not member.filename.startswith(prefix):
                continue
            name = member.filename.removeprefix(prefix).removesuffix(".npy")
            if member.compress_type != zipfile.ZIP_STORED:
                raise UsageError(f"array {name!r} of {path.name} is compressed", hint="Save it with numpy.savez.")
            file.seek(first_byte(file, member))
            shape, dtype = _header(file, name)
            found[name] = Rows(path, file.tell(), shape[0], shape[1:], dtype)
    return found


def first_byte(file: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where in the file of an archive a member begins that is not compressed."""
    file.seek(member.header_offset + _NAME_LENGTH)
    return sum(struct.unpack("<HH", file.read(4))) + file.tell()


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read on to an array's first element: its shape, whether it is stored column after column, its type.

    Raises:
        ValueError: no header; NumPy, which reads it as a Python literal, raises others, too.
    """
    version = npy.read_magic(file)
    if version not in _VERSIONS:
        raise ValueError(f"version {version} of the npy format is not known")
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = _VERSIONS[version](file)
    return found


#: Version 3 is 2 with names of fields in UTF-8.
_VERSIONS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
    (3, 0): npy.read_array_header_2_0,
}


def _open(stack: contextlib.ExitStack, path: Path, prefix: str) -> dict[str, _Stored]:
    archive = stack.enter_context(zipfile.ZipFile(path))
    found = {}
    for member in archive.namelist():
        if member.startswith(prefix):
            name = member.removeprefix(prefix).removesuffix(".npy")
            file = stack.enter_context(archive.open(member))
            found[name] = _Stored(file, *_header(file, name))
    return found


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    shape, fortran, dtype = header(file)
    if (fortran and len(shape) > 1) or dtype.hasobject:
        raise UsageError(f"array {name!r} is not stored row after row", hint="Save it with numpy.ascontiguousarray.")
    return shape, dtype
