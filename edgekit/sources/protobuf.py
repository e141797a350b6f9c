"""Protocol buffers read strictly, without their classes: a field that may be there once is there once.

The format itself is lenient: of a field that is there twice the last counts, or both are merged, and readers that take
the first read something else. See https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

_FIXED = {1: 8, 5: 4}
_LENGTH_DELIMITED = 2


class RepeatedFieldError(ValueError):
    """A field that may be there once is there twice."""


class Message:
    """One message; its fields are read when first asked for, the whole of it, so that damage shows."""

    def __init__(self, data: bytes, name: str = "the message") -> None:
        """Take the bytes; ``name`` is what errors call it."""
        self.data = data
        self.name = name

    @cached_property
    def fields(self) -> dict[int, list[bytes | int]]:
        """Field number -> its values in order: bytes, or a number.

        Raises:
            ValueError: it is not a whole message.
        """
        found: dict[int, list[bytes | int]] = {}
        for number, value in _fields(self.data):
            found.setdefault(number, []).append(value)
        return found

    def messages(self, number: int, name: str = "") -> list[Message]:
        """Every value of a repeated message field."""
        return [Message(value, name or self.name) for value in self._bytes(number)]

    def message(self, number: int, name: str = "") -> Message:
        """The message in a field that may be there once; an empty one where it is missing.

        Raises:
            RepeatedFieldError: it is there twice.
        """
        return Message(self._once(number), name or self.name)

    def text(self, number: int) -> str:
        """The text in a field that may be there once; empty where it is missing.

        Raises:
            RepeatedFieldError: it is there twice.
        """
        return self._once(number).decode()

    def texts(self, number: int) -> list[str]:
        """Every value of a repeated text field."""
        return [value.decode() for value in self._bytes(number)]

    def has(self, number: int) -> bool:
        """Whether the field is there."""
        return number in self.fields

    def _once(self, number: int) -> bytes:
        values = self._bytes(number)
        if len(values) > 1:
            raise RepeatedFieldError(
                f"field {number} of {self.name} is there {len(values)} times: what is checked would not be loaded"
            )
        return values[0] if values else b""

    def _bytes(self, number: int) -> list[bytes]:
        values = self.fields.get(number, [])
        if not all(isinstance(value, bytes) for value in values):
            raise ValueError(f"field {number} of {self.name} has another type than it should")
        return [value for value in values if isinstance(value, bytes)]


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"field {number} at byte {at}")
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire in _FIXED:
            at += _FIXED[wire]
            yield number, 0
        elif wire == _LENGTH_DELIMITED:
            size, at = _varint(data, at)
            yield number, data[at : at + size]
            at += size
        else:
            raise ValueError(f"field type {wire} at byte {at}")
    if at != len(data):
        raise ValueError("it ends in the middle of a field")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"number too long at byte {at}")
