"""Rows as plain columns: no slow imports, since `edgekit list` must answer at once."""

from __future__ import annotations

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


def columns(rows: list[dict[str, Any]]) -> str:
    """Rows with one heading line; every row has the same keys."""
    if not rows:
        return "none\n"
    table = [list(rows[0]), *([text(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[index]) for line in table) for index in range(len(table[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in table)
    return "".join(line.rstrip() + "\n" for line in lines)
