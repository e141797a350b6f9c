"""Makes ``edgekit/data/tasks/python_text.xz`` from the standard library of CPython 3.11.7.

    python benchmarks/python_text.py LIB OUT.xz

LIB is the folder ``Lib`` of that release (python.org, ``Python-3.11.7.tgz``). Which modules, in which order and in which
split follows from their names and contents alone, so that the same release gives the same text.
"""

import hashlib
import lzma
import re
import sys
from pathlib import Path

from edgekit.data.tasks import python_text

#: Whose modules are taken beside those of the top level.
PACKAGES = (
    "asyncio", "collections", "concurrent/futures", "ctypes", "distutils", "distutils/command", "email", "html", "http",
    "importlib", "json", "logging", "multiprocessing", "sqlite3", "tkinter", "unittest", "urllib", "wsgiref", "xml/dom",
    "xml/sax",
)  # fmt: skip
#: A module with terms of its own is not under the PSF's licence alone.
OTHER_TERMS = re.compile(r"copyright|licen[cs]e", re.IGNORECASE)


def modules(folder: Path) -> list[str]:
    """Sources of modules in printable ASCII without terms of their own, in the order of a hash."""
    found = {}
    for path in [*folder.glob("*.py"), *(path for package in PACKAGES for path in (folder / package).glob("*.py"))]:
        text = path.read_text(encoding="utf-8")
        if set(text) <= set(python_text.VOCABULARY) and not OTHER_TERMS.search(text):
            found[hashlib.sha256(path.relative_to(folder).as_posix().encode()).hexdigest()] = text
    return [found[key] for key in sorted(found)]


def excerpt(texts: list[str]) -> str:
    """One piece per split, in the task's order: whole modules, of which the last is cut.

    The library repeats itself: a module that has a window's length in common with an earlier split is left out.
    """
    rest, pieces, taken = iter(texts), [], set()
    for size in python_text.HELD.values():
        wanted, piece, own = python_text.characters(size), "", set()
        while len(piece) < wanted:
            text = next(rest)
            windows = {text[i : i + python_text.LENGTH] for i in range(len(text) - python_text.LENGTH + 1)}
            if not windows & taken:
                piece, own = piece + text, own | windows
        pieces.append(piece[:wanted])
        taken |= own
    return "".join(pieces)


def main(folder: str, out: str) -> None:
    text = excerpt(modules(Path(folder)))
    Path(out).write_bytes(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    print(len(text), "characters,", Path(out).stat().st_size, "bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
