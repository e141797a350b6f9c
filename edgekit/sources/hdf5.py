"""HDF5 files that somebody handed in: what they point at, and what their attributes say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.errors import DamagedFileError
from edgekit.sources import allowed

#: How much larger than the file a dataset may say that it is, where it is large at all: compression of trained weights
#: gains little.
_MOST_EXPANSION = 1000
_ALWAYS_ALLOWED_BYTES = 64 << 20
_MOST_OBJECTS = 1_000_000


@contextmanager
def opened(path: Path, name: str) -> Iterator[Any]:
    """Open a file with h5py; whatever goes wrong inside of the block becomes ``DamagedFileError``."""
    import h5py

    from edgekit.errors import EdgekitError

    try:
        with h5py.File(path, "r") as file:
            yield file
    except EdgekitError:
        raise
    except Exception as error:  # HDF5 reports damage by whatever Python type its binding happens to raise
        raise DamagedFileError(f"{name} is not a whole HDF5 file: {error}", hint="Fetch or save it again.") from error


def check(file: Any, name: str, given: str, *, trust: bool) -> None:
    """Look at every group and dataset once, whatever links lead to it.

    Raises:
        UnsafeInputError: something lies in another file, unless ``trust``.
        DamagedFileError: a dataset that says to be far larger than the file, or more objects than a model has.
    """
    import h5py

    size = file.id.get_filesize()
    todo, seen = [file], set()
    while todo:
        group = todo.pop()
        for key in group:
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                if not trust:
                    raise allowed.unsafe(given, f"HDF5 link {group.name}/{key} points at the file {link.filename!r}")
                continue
            item = group[key] if isinstance(link, h5py.HardLink) else None
            if item is None or (address := h5py.h5o.get_info(item.id).addr) in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST_OBJECTS:
                raise DamagedFileError(f"{name} holds more than {_MOST_OBJECTS} objects")
            if isinstance(item, h5py.Group):
                todo.append(item)
            elif isinstance(item, h5py.Dataset):
                _check_dataset(item, size, name, given, trust=trust)


def _check_dataset(item: Any, size: int, name: str, given: str, *, trust: bool) -> None:
    if (item.external or item.is_virtual) and not trust:
        raise allowed.unsafe(given, f"HDF5 dataset {item.name} keeps its data in other files")
    said = math.prod(item.shape or ()) * item.dtype.itemsize
    if said > max(_ALWAYS_ALLOWED_BYTES, _MOST_EXPANSION * size) and not item.external:
        raise DamagedFileError(
            f"{name} has {size} bytes and its dataset {item.name} says to have {said}", hint="Fetch or save it again."
        )


def text(file: Any, attribute: str) -> str | None:
    """A text attribute; None where there is none.

    Raises:
        ValueError: it is no text.
    """
    if attribute not in file.attrs:
        return None
    value = file.attrs[attribute]
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    if not isinstance(value, str):
        raise ValueError(f"its attribute {attribute} is a {type(value).__name__}")
    return value
