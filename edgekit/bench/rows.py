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


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file, whole lines at a time; several processes may add to one file.

    A torn last line, of a process that was killed while it wrote, goes into ``<file>.torn`` first.
    """
    text = "".join(json.dumps(row.to_json(), sort_keys=True, allow_nan=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")), path.open("a+b") as stream:
        _mend(path, stream.fileno())
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


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
