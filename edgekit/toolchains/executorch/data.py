"""Reading a .ptd file: constants by name that a .pte program, or a delegate in it, stores outside of itself.

The schema is ExecuTorch's ``extension/flat_tensor/serialize/flat_tensor.fbs`` (identifier FT01), the header before the
segments ``FlatTensorHeader`` in ``serialize.py`` beside it.
"""

from __future__ import annotations

import struct

from edgekit.toolchains.executorch.flatbuffer import BadBytesError, root

IDENTIFIER = b"FT01"
_HEADER = struct.Struct("<4sIQQQQ")


def parse(content: bytes) -> dict[str, bytes]:
    """Read the bytes of a .ptd file; raises ``BadBytesError``."""
    if len(content) < 8 + _HEADER.size:
        raise BadBytesError(f"a .ptd file has {len(content)} bytes")
    magic, _, start, length, base, size = _HEADER.unpack_from(content, 8)
    if magic != b"FH01":
        raise BadBytesError(f"a .ptd file has the header {magic!r}")
    whole = max(start + length, base + size)
    if whole > len(content):
        raise BadBytesError(f"a .ptd file has {len(content)} bytes; its header describes {whole}")
    packed = root(content[: start + length], IDENTIFIER)
    places = [(base + t.number(0, "Q"), t.number(1, "Q")) for t in packed.tables(1)]
    found = {}
    for entry in packed.tables(2):
        index = entry.number(1, "I")
        if index >= len(places) or sum(places[index]) > len(content):
            raise BadBytesError(f"segment {index} of a .ptd file is not in it")
        at, count = places[index]
        found[entry.text(0)] = content[at : at + count]
    return found
