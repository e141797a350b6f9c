"""Arrays of samples that lie in files and are looked at some rows at a time: samples may be larger than the memory.

They are ordinary NumPy arrays, whose pages the system reads when they are needed and drops when it has to. What is made
here lies in a file without a name in ``TMPDIR``, which is gone with its array; what is looked at in ``blocks`` does not
even stay resident, which memory limits count. (Of an array that is stored column after column each row lies in all of
its pages.)
"""

from __future__ import annotations

import math
import mmap
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data import rows
from edgekit.data.tasks import Samples

Array = NDArray[np.generic]

#: What is looked at or copied at a time, or one row where a row is larger.
BYTES = 1 << 20


def blocks(array: Array) -> Iterator[Array]:
    """Some rows at a time."""
    most = _rows_at_a_time(array)
    for start in range(0, len(array), most):
        yield array[start : start + most]
        _release(array)


def each(array: Array) -> Iterator[Array]:
    """One row at a time."""
    for block in blocks(array):
        yield from block


def take(samples: Samples, numbers: NDArray[np.integer[Any]]) -> Samples:
    """The samples with these numbers."""
    picked = {name: _picked(array, numbers) for name, array in samples.inputs.items()}
    return replace(samples, inputs=picked, labels=None if samples.labels is None else _picked(samples.labels, numbers))


def _picked(array: Array, numbers: NDArray[np.integer[Any]]) -> Array:
    def parts() -> Iterator[Array]:
        most = _rows_at_a_time(array)
        for start in range(0, max(1, len(numbers)), most):
            yield array[numbers[start : start + most]]
            _release(array)

    return written(parts())


def written(parts: Iterable[Array]) -> Array:
    """Parts of one array, first axis the sample, written below each other as they come; at least one."""
    made = Growing()
    for part in parts:
        made.add(part)
    return made.array()


class Growing:
    """An array to which parts are added, rows of one shape; at least one part must be, which may be empty."""

    def __init__(self) -> None:
        """Nothing is in it, so that its type and shape are still open."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as its mapping
        self._like: Array | None = None
        self._count = 0

    def add(self, part: Array) -> None:
        """Write some rows; all parts come to the type that holds each, as ``numpy.concatenate`` has it.

        Raises:
            ValueError: rows of another shape.
        """
        if self._like is None:
            self._like = part[:0].copy()
        if part.shape[1:] != self._like.shape[1:]:
            raise ValueError(f"rows of shape {part.shape[1:]} cannot go below rows of shape {self._like.shape[1:]}")
        dtype = np.result_type(self._like.dtype, part.dtype)
        if dtype != self._like.dtype:
            wider = Growing()
            for block in (self._like, *blocks(self.array())):
                wider.add(block.astype(dtype))
            self._file, self._like = wider._file, wider._like
        self._file.write(part.astype(dtype, copy=False).tobytes())
        self._count += len(part)

    def array(self) -> Array:
        """What was added so far."""
        assert self._like is not None
        self._file.flush()
        return _mapped(self._file, self._like.dtype, 0, (self._count, *self._like.shape[1:]))


def member(archive: zipfile.ZipFile, path: Path, name: str) -> Array:
    """An array of an ``.npz`` file: in its place there, or unpacked where it is compressed.

    Raises:
        ValueError: it has objects, or fewer bytes than it says; else what ``zipfile`` and NumPy raise on damage.
    """
    found = archive.getinfo(name)
    unpacked = None if found.compress_type == zipfile.ZIP_STORED else tempfile.TemporaryFile()  # noqa: SIM115
    with archive.open(found) as stored:  # read to its end in either case, where its checksum is held
        shape, fortran, dtype = rows.header(stored)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        start, size = stored.tell(), 0
        while block := stored.read(BYTES):
            size += len(block)
            if unpacked is not None:
                unpacked.write(block)
    if size < math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} says to be {shape} {dtype} and has {size} bytes")
    if unpacked is not None:
        unpacked.flush()
        return _mapped(unpacked, dtype, 0, shape, fortran=fortran)
    with path.open("rb") as file:
        return _mapped(file, dtype, rows.first_byte(file, found) + start, shape, fortran=fortran)


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write the bytes of ``numpy.savez`` with these arrays row after row, so that ``rows.read`` can take some."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            # A ZipInfo made by hand has a constant date.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                rows.write_header(file, array.dtype, array.shape)
                for block in blocks(array):
                    file.write(block.tobytes())


def _mapped(file: IO[bytes], dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], fortran: bool = False) -> Array:
    if not math.prod(shape) * dtype.itemsize:  # of which there is no mapping
        return np.empty(shape, dtype)
    mapping: Array = np.memmap(file, dtype, "r", offset, shape, "F" if fortran else "C")
    return mapping.view(np.ndarray)


def _rows_at_a_time(array: Array) -> int:
    return max(1, BYTES // max(1, math.prod(array.shape[1:]) * array.itemsize))


def _release(array: Array) -> None:
    """Let go of the pages of a mapped array that were read; they are read again when they are needed."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)
