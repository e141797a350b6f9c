"""Mutants of files: of their bytes, of what lies in their archives, and of their documents."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

Bytes = Callable[[bytes, random.Random], bytes]


# --- Bytes -----------------------------------------------------------------------------------------------------------


def flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 8])):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _block(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data) + 1)
    return start, min(len(data), start + chance.choice([1, 4, 16, 64, 512, 4096]))


def splice(data: bytes, chance: random.Random) -> bytes:
    (start, end), (at, until) = _block(data, chance), _block(data, chance)
    other = data[at:until] if chance.random() < 0.5 else chance.randbytes(end - start)
    return data[:start] + other + data[end:]


def repeat(data: bytes, chance: random.Random) -> bytes:
    start, end = _block(data, chance)
    return data[:end] + data[start:end] * chance.choice([1, 2, 100]) + data[end:]


def drop(data: bytes, chance: random.Random) -> bytes:
    start, end = _block(data, chance)
    return data[:start] + data[end:]


def length(data: bytes, chance: random.Random) -> bytes:
    """Another number where a length may stand."""
    size = chance.choice([1, 2, 4, 8])
    if len(data) < size:
        return data
    at = chance.randrange(len(data) - size + 1)
    kind = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}[size]
    most = (1 << 8 * size) - 1
    found = struct.unpack_from(kind, data, at)[0]
    number = chance.choice([0, 1, most, most >> 1, found + 1, found - 1, found << 4, len(data), 1 << (8 * size - 1)])
    return data[:at] + struct.pack(kind, number & most) + data[at + size :]


BYTES: list[Bytes] = [flip, flip, cut, splice, repeat, drop, length, length]


def any_bytes(data: bytes, chance: random.Random) -> bytes:
    return chance.choice(BYTES)(data, chance)


# --- Documents -------------------------------------------------------------------------------------------------------


def _deep(levels: int) -> Any:
    return f"DEEP-{levels}"  # written out by ``_written``, since the encoder recurses


_VALUES: list[Callable[[], Any]] = [
    lambda: None, lambda: True, lambda: -1, lambda: 0, lambda: 1 << 40, lambda: 1 << 70, lambda: 1e308, lambda: "",
    lambda: "x" * 100_000, lambda: "../../x", lambda: "a\0b", lambda: "\x1b[2J\u202e", list, dict,
    lambda: [[]], lambda: {"class_name": "Dense"}, lambda: {"class_name": "function", "config": "relu"},
    lambda: [1 << 31, 1 << 31, 3], lambda: [None, -5, 3], lambda: float("nan"), lambda: _deep(150),
    lambda: _deep(300), lambda: _deep(20_000),
]  # fmt: skip


def _places(document: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    todo = [document]
    while todo:
        value = todo.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
        for key in keys:
            found.append((value, key))
            todo.append(value[key])
    return found


def any_document(document: Any, chance: random.Random) -> Any:
    """A document with one to three of its values changed, removed, renamed, repeated or exchanged."""
    changed = json.loads(json.dumps(document))
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        places = _places(changed)
        if not places:
            return chance.choice(_VALUES)()
        owner, key = chance.choice(places)
        other, its = chance.choice(places)
        how = chance.randrange(6)
        if how <= 1:
            owner[key] = chance.choice(_VALUES)()
        elif how == 2:
            del owner[key]
        elif how == 3 and isinstance(owner, dict):
            owner[chance.choice([key + "_", "", "class_name", "config", "x" * 300, "__class__"])] = owner.pop(key)
        elif how == 4 and isinstance(owner, list):
            owner += [owner[key]] * chance.choice([1, 3, 1000])
        else:
            owner[key] = json.loads(json.dumps(other[its]))
    return changed


def written(document: Any) -> str:
    text = json.dumps(document)
    return re.sub(r'"DEEP-(\d+)"', lambda found: "[" * int(found[1]) + "]" * int(found[1]), text)


def any_json(text: str, chance: random.Random) -> str:
    """A JSON text with its document changed, or its letters."""
    if chance.random() < 0.8:
        return written(any_document(json.loads(text), chance))
    return any_bytes(text.encode(), chance).decode(errors="replace")


_TOML_VALUES = [
    "1", "-1", "0", "nan", "inf", '""', "[]", "{}", "true", "1e400", "9" * 5000, "[" * 3000, "[1000000, 1000000]",
    "1979-05-27", '"\\u001b[2J"', "'" + "x" * 100_000 + "'", "[[[[1]]]]", "{ a = 1 }", "0x" + "f" * 5000, '"rgb"',
]  # fmt: skip


def any_toml(text: str, chance: random.Random) -> str:
    lines = text.splitlines()
    how = chance.randrange(6)
    at = chance.randrange(len(lines))
    key = lines[at].partition("=")[0]
    if how <= 2 and "=" in lines[at]:
        lines[at] = f"{key}= {chance.choice(_TOML_VALUES)}"
    elif how == 3:
        lines[at:at] = [chance.choice([lines[at], "[a.b.c]", "[[route]]", f"{'a.' * 5000}b = 1", "x = 1"])]
    elif how == 4:
        del lines[at]
    else:
        return any_bytes(text.encode(), chance).decode(errors="surrogateescape")
    return "\n".join(lines)


# --- Archives --------------------------------------------------------------------------------------------------------


def members(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return [(name, opened.read(name)) for name in opened.namelist()]


def zipped(found: list[tuple[str, bytes]], packed: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packed) as opened:
        for name, data in found:
            opened.writestr(name, data)
    return made.getvalue()


def any_zip(data: bytes, chance: random.Random) -> bytes:
    """An archive changed as bytes, as a list of members, or (mostly, its sums right) inside of one of them."""
    how = chance.random()
    if how < 0.15:
        return any_bytes(data, chance)
    found = members(data)
    at = chance.randrange(len(found))
    name, content = found[at]
    if how < 0.3:
        other = found[chance.randrange(len(found))][0]
        renamed = chance.choice([f"../{name}", f"/{name}", name.upper(), f"{name}\\x", other, f"x/{name}", f"{name}/"])
        change = chance.randrange(4)
        if change == 0:
            found.append((name, any_bytes(content, chance)))
        elif change == 1:
            found[at] = (renamed, content)
        elif change == 2:
            del found[at]
        else:
            found[at] = (name, b"")
    else:
        document = name.endswith(".json")
        found[at] = (name, any_json(content.decode(), chance).encode() if document else any_bytes(content, chance))
    return zipped(found, chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def within_zip(wanted: str, change: Callable[[bytes, random.Random], bytes]) -> Bytes:
    """A change of those members whose names match, the sums right."""

    def changed(data: bytes, chance: random.Random) -> bytes:
        found = members(data)
        [*places] = [at for at, (name, _) in enumerate(found) if re.search(wanted, name)]
        at = chance.choice(places)
        found[at] = (found[at][0], change(found[at][1], chance))
        return zipped(found)

    return changed


def json_bytes(data: bytes, chance: random.Random) -> bytes:
    return any_json(data.decode(), chance).encode()


_WORDS = re.compile(r"[A-Za-z_]\w*|\d+\.?\d*|\"[^\"\n]*\"|[-+*/=<>()\[\]{},:.]")


def words(data: bytes, chance: random.Random) -> bytes:
    """Code with one word replaced by another of it, removed, or repeated."""
    text = data.decode(errors="replace")
    found = list(_WORDS.finditer(text))
    if not found:
        return any_bytes(data, chance)
    one, other = chance.choice(found), chance.choice(found)
    new = chance.choice([other[0], "", one[0] * 2, "(" * 500, "9" * 400, f"{one[0]}.{other[0]}"])
    return (text[: one.start()] + new + text[one.end() :]).encode()
