"""Reading FlatBuffers with every offset checked, so that no file can make it read outside or run for ever.

The layout is https://flatbuffers.dev/internals: a table begins with the distance back to its vtable, which holds the
offset of each field (0: the default). ``field`` below is the place of a field in the schema, a union counting twice
(its type, then its value).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

#: Bytes per element of struct's type letters.
_SIZES: Final = {"B": 1, "b": 1, "?": 1, "H": 2, "h": 2, "I": 4, "i": 4, "f": 4, "Q": 8, "q": 8, "d": 8}


class BadBytesError(ValueError):
    """The bytes are not a FlatBuffer of this schema; turned into ``DamagedFileError`` where the file is known."""


@dataclass(frozen=True)
class Table:
    """A table at a place in a buffer."""

    data: bytes
    position: int

    def number(self, field: int, letter: str, default: float = 0) -> int:
        """An integer field; ``letter`` as in ``struct``."""
        at = self._field(field)
        return int(default if at is None else _unpack(self.data, at, letter))

    def real(self, field: int) -> float:
        """A float32 field."""
        at = self._field(field)
        return 0.0 if at is None else float(_unpack(self.data, at, "f"))

    def table(self, field: int) -> Table | None:
        """A table field."""
        at = self._field(field)
        return None if at is None else self._behind(at)

    def need(self, field: int) -> Table:
        """A table field that must be there."""
        found = self.table(field)
        if found is None:
            raise BadBytesError(f"field {field} of the table at {self.position} is missing")
        return found

    def union(self, field: int) -> tuple[int, Table | None]:
        """A union: the number of its type and its table; (0, None) where it is empty."""
        kind = self.number(field, "B")
        return kind, self.table(field + 1) if kind else None

    def text(self, field: int) -> str:
        """A string field; empty where it is missing."""
        found = self._vector(field, 1)
        if found is None:
            return ""
        start, count = found
        try:
            return self.data[start : start + count].decode()
        except UnicodeDecodeError as error:
            raise BadBytesError(str(error)) from error

    def numbers(self, field: int, letter: str) -> tuple[int, ...]:
        """A vector of integers (or of floats, with ``f``)."""
        found = self._vector(field, _SIZES[letter])
        return () if found is None else struct.unpack_from(f"<{found[1]}{letter}", self.data, found[0])

    def count(self, field: int, letter: str) -> int:
        """Length of a vector of numbers, which is not read."""
        found = self._vector(field, _SIZES[letter])
        return 0 if found is None else found[1]

    def tables(self, field: int) -> list[Table]:
        """A vector of tables."""
        found = self._vector(field, 4)
        return [] if found is None else [self._behind(found[0] + 4 * i) for i in range(found[1])]

    def _field(self, field: int) -> int | None:
        start = self.position - _unpack(self.data, self.position, "i")
        length = _unpack(self.data, start, "H")
        slot = 4 + 2 * field
        offset = _unpack(self.data, start + slot, "H") if slot + 2 <= length else 0
        return self.position + offset if offset else None

    def _behind(self, at: int) -> Table:
        return Table(self.data, at + _unpack(self.data, at, "I"))

    def _vector(self, field: int, size: int) -> tuple[int, int] | None:
        at = self._field(field)
        if at is None:
            return None
        start = at + _unpack(self.data, at, "I")
        count = _unpack(self.data, start, "I")
        if start + 4 + count * size > len(self.data):
            raise BadBytesError(f"a vector of {count} elements at {start} ends behind the {len(self.data)} bytes")
        return start + 4, count


def root(data: bytes, identifier: bytes) -> Table:
    """The root table of a buffer; raises ``BadBytesError`` where its identifier is another."""
    if data[4:8] != identifier:
        raise BadBytesError(f"identifier {data[4:8]!r} where {identifier!r} is due")
    return Table(data, int(_unpack(data, 0, "I")))


def _unpack(data: bytes, at: int, letter: str) -> Any:
    if at < 0 or at + _SIZES[letter] > len(data):
        raise BadBytesError(f"offset {at} lies outside the {len(data)} bytes")
    return struct.unpack_from(f"<{letter}", data, at)[0]
