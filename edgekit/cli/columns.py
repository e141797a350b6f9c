"""Rows as plain text: no slow imports, since `edgekit list` must answer at once.

On a terminal columns are padded so that they stand below each other; in a file or a pipe a tab is between cells, and
nothing is padded, cut or wrapped: for ``cut``, ``sort`` and ``awk``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from edgekit.errors import printable


def text(value: Any) -> str:
    """One cell as a person writes it."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{printable(key)} {text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else printable(str(value))


def columns(rows: list[dict[str, Any]], *, padded: bool | None = None) -> str:
    """Rows with one heading line; every row has the same keys. ``padded`` is what standard output is where None."""
    if not rows:
        return "none\n"
    return _lines([list(rows[0]), *([text(value) for value in row.values()] for row in rows)], padded)


def pairs(rows: Sequence[tuple[str, str]], *, padded: bool | None = None) -> str:
    """Names with their values, which are printable already, a line each."""
    return _lines([[name, value] for name, value in rows], padded)


def write(said: str) -> None:
    """Write it where results go."""
    sys.stdout.write(said)


def _lines(table: list[list[str]], padded: bool | None) -> str:
    if not (sys.stdout.isatty() if padded is None else padded):
        return "".join("\t".join(line) + "\n" for line in table)
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)
    return "".join(line.rstrip() + "\n" for line in lines)
