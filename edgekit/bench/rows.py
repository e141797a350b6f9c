"""Files of rows: JSON lines, appended to and never rewritten, but for a last line that a crash tore."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from edgekit.bench.row import Cell, Row
from edgekit.errors import UsageError


def read(path: Path, say: Callable[[str], None] = lambda line: None) -> list[Row]:
    """All whole rows of a file, in their order; a last line without its end is left out, and said.

    Raises:
        UsageError: there is no such file, or a whole line of it is no row.
    """
    return list(_rows(path, say))


def _rows(path: Path, say: Callable[[str], None]) -> Iterator[Row]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="Name a file of rows (.jsonl).") from error
    *whole, torn = content.split(b"\n")
    if torn:
        say(f"{path}: the last line is torn ({len(torn)} bytes) and counts as no row")
    for number, line in enumerate(whole, 1):
        if not line.strip():
            continue
        try:
            yield Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise UsageError(
                f"{path}, line {number} is no row of a benchmark: {where}: {first['msg']}",
                hint="Rows are written by `edgekit benchmark`; take the line out if it was edited.",
            ) from error


def check(path: Path) -> None:
    """Raise ``UsageError`` where rows cannot be added to a file: said before what takes long, and nothing is written.

    A pipe or a device is no such file: what was added is read again to find a torn line.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file of rows", hint="Name a file (.jsonl); it need not be there yet.")
        path.parent.mkdir(parents=True, exist_ok=True)
        for file in (_lock(path), *([path] if path.exists() else [])):
            file.open("ab").close()
    except OSError as error:
        raise _unwritten(path, error) from error


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, whole lines at a time; several processes may add to one file.

    A torn last line, of a process that was killed while it wrote, goes into ``<file>.torn`` first.

    Raises:
        UsageError: it cannot be written.
    """
    text = "".join(json.dumps(row.to_json(), sort_keys=True, allow_nan=False) + "\n" for row in rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock(path)), path.open("a+b") as stream:
            _mend(path, stream.fileno())
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _unwritten(path, error) from error


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _unwritten(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"no rows can be added to {path}: {error.strerror or error}", hint="Name another file, or free space there."
    )


def _mend(path: Path, descriptor: int) -> None:
    """Move what stands behind the last line's end into a file of its own."""
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end == len(content):
        return
    with path.with_name(f"{path.name}.torn").open("ab") as torn:
        torn.write(content[end:] + b"\n")
    os.ftruncate(descriptor, end)


def newest(rows: Iterable[Row]) -> dict[Cell, Row]:
    """The last row of each cell, in the order in which cells came first."""
    return {row.cell: row for row in rows}
