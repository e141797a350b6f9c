"""Pickles inside of archives: which Python objects they would import, told without unpickling."""

from __future__ import annotations

import io
import pickletools
import re
from collections.abc import Iterator
from typing import Any

from edgekit.data import archives
from edgekit.errors import DamagedFileError
from edgekit.sources import allowed

#: The pickled globals that make tensors; torch's weights-only unpickler allows these and little else.
_TENSOR_GLOBALS = re.compile(
    r"collections OrderedDict|_codecs encode|torch(\.storage)? (\w+Storage|Size|device|dtype)|torch serialization\w*|"
    r"torch\._utils _rebuild_(tensor_v[23]|parameter)|torch\._tensor _rebuild_from_type_v2|"
    r"torch (float\w*|bfloat16|u?int\d+|bool|Tensor|strided)|torch\.nn\.parameter Parameter|"
    r"torch\.serialization _get_layout"
)
_MOST_BYTES = 256 << 20


def check_tensors(data: bytes, member: str, given: str) -> None:
    """Hold what ``torch.save`` wrote to tensors and plain values.

    Raises:
        UnsafeInputError: it imports more, or is no zip: PyTorch's older formats are pickles in a row, or in a tar.
        DamagedFileError: it cannot be read.
    """
    if data[:4] != b"PK\x03\x04":
        found = next((g for g in _safely(data, member) if not _TENSOR_GLOBALS.fullmatch(g)), None)
        raise allowed.unsafe(given, f"{member!r} unpickles {found.replace(' ', '.') if found else 'an old format'}")
    inner = archives.open_zip(io.BytesIO(data), f"{given}: {member!r}")
    for name in inner.namelist():
        if name.endswith(".pkl"):
            for found in imported(archives.read(inner, name, given, _MOST_BYTES), f"{given}: {member!r}: {name!r}"):
                if not _TENSOR_GLOBALS.fullmatch(found):
                    raise allowed.unsafe(given, f"{member!r} unpickles {found.replace(' ', '.')}")


def _safely(data: bytes, name: str) -> Iterator[str]:
    """Globals as far as the pickle can be read: it is refused whatever follows."""
    try:
        yield from imported(data, name)
    except DamagedFileError:
        return


def imported(data: bytes, name: str) -> Iterator[str]:
    """Globals of a pickle as ``module name``; one that cannot be told statically is given as ``unknown``.

    Raises:
        DamagedFileError: it cannot be read.
    """
    texts: list[str] = []
    memo: dict[Any, str | None] = {}
    last: str | None = None
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):
            for code, argument, _ in pickletools.genops(stream):
                if code.name in {"GLOBAL", "INST"}:
                    yield str(argument)
                elif code.name == "STACK_GLOBAL":
                    yield f"{texts[-2]} {texts[-1]}" if len(texts) > 1 and last is not None else "unknown"
                elif code.name in {"EXT1", "EXT2", "EXT4"}:
                    yield "unknown"
                if code.name == "MEMOIZE":
                    memo[len(memo)] = last
                elif "PUT" in code.name:
                    memo[argument] = last
                else:
                    last = memo.get(argument) if "GET" in code.name else argument if "UNI" in code.name else None
                    if isinstance(last, str):
                        texts.append(last)
            # torch's old format is several pickles in a row, then raw storages: stop where no pickle starts.
            if data[stream.tell() : stream.tell() + 1] != b"\x80":
                return
    except (ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise DamagedFileError(f"{name} is not a whole pickle: {error}") from error
