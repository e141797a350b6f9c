"""Which modules of the package are imported when a function runs, all that they import included.

A module that is imported brings all that it imports anywhere, and the ``__init__`` of the packages on the way. An
import by name (see ``imports.py``) counts where the function in which it stands can be reached, by name, from the
function that is asked about. Which names it may be given is the caller's to say; of a package that the caller says
nothing about, every module counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.jobs.keys import imports
from edgekit.jobs.keys.imports import ALL, BODY, PACKAGE, ByName, Module

#: Package whose modules are imported by name -> the names that one step may import from it.
Names = Mapping[str, frozenset[str]]
#: A module, and a function or class that it defines, or ``BODY``, or ``ALL``.
Place = tuple[str, str]


@dataclass(frozen=True)
class Code:
    """The sources of the package: each module's SHA-256 (of its text and its ``DATA``), and what it says."""

    hashes: Mapping[str, str]
    modules: Mapping[str, Module]

    def closure(self, roots: Iterable[Place], names: Names) -> frozenset[str]:
        """Every module that is imported when the functions run.

        Args:
            roots: the functions.
            names: what imports by name may be given.
        """
        todo = list(roots)
        reached: set[Place] = set()
        while todo:
            place = todo.pop()
            if place not in reached:
                reached.add(place)
                todo += self._next(*place, names)
        return frozenset(module for module, _ in reached)

    def _next(self, module: str, name: str, names: Names) -> Iterator[Place]:
        """What a definition leads to; a module's own statements lead to all that the module imports."""
        found = self.modules[module]
        if name == BODY:
            yield from ((parent, BODY) for parent in _parents(module) if parent in self.modules)
            yield from ((other, BODY) for dotted in found.imports for other, _ in self._places(dotted))
        else:
            yield module, BODY
        if name == ALL:
            yield from ((module, each) for each in found.mentions.keys() | found.by_name.keys())
        yield from (place for dotted in found.mentions.get(name, ()) for place in self._places(dotted))
        for pattern in found.by_name.get(name, ()):
            yield from ((each, ALL) for each in self._matching(pattern, names))

    def _matching(self, pattern: ByName, names: Names) -> set[str]:
        start = f"{pattern.package}."
        chosen = names.get(pattern.package)
        if chosen is None:
            chosen = frozenset(m[len(start) :].partition(".")[0] for m in self.modules if m.startswith(start))
        return {f"{start}{name}{pattern.rest}" for name in chosen} & self.modules.keys()

    def _places(self, dotted: str) -> Iterator[Place]:
        """What a dotted name may stand for: a package may hold a module and a function of one name."""
        parts = [*dotted.split("."), BODY]
        for end in range(1, len(parts)):
            if (module := ".".join(parts[:end])) in self.modules:
                yield module, parts[end]


def read(root: Path, memory: Path | None = None) -> Code:
    """Read every Python file of the package's folder.

    Args:
        root: the folder.
        memory: a file that keeps what each text says, so that one that was read before is not parsed again: parsing
            all takes most of a second.
    """
    known = _remembered(memory)
    hashes, modules, documents = {}, {}, {}
    for path in sorted(root.rglob("*.py")):
        where, text = path.relative_to(root), path.read_bytes()
        name, sha256 = _dotted(where), hashlib.sha256(text)
        at = f"{where.as_posix()} {sha256.hexdigest()}"
        if at in known:
            modules[name] = Module.from_json(known[at])
        else:
            modules[name] = imports.read(name, text, is_package=path.name == "__init__.py")
        documents[at] = known.get(at) or modules[name].to_json()
        for file in sorted(found for pattern in modules[name].data for found in path.parent.glob(pattern)):
            sha256.update(
                f"{file.relative_to(root).as_posix()}\0".encode() + hashlib.sha256(file.read_bytes()).digest()
            )
        hashes[name] = sha256.hexdigest()
    if memory is not None and documents.keys() != known.keys():
        _remember(memory, documents)
    return Code(hashes, modules)


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _reader() -> str:
    """What reads a text: another version of it may find something else."""
    return f"{sys.version} {hashlib.sha256(Path(imports.__file__).read_bytes()).hexdigest()}"


def _remembered(memory: Path | None) -> dict[str, Any]:
    try:
        document = json.loads(memory.read_bytes()) if memory else {}
    except (OSError, ValueError):
        return {}
    return document["modules"] if document.get("reader") == _reader() else {}


def _remember(memory: Path, documents: Any) -> None:
    with contextlib.suppress(OSError):  # what cannot be kept is read again; the store says what is wrong with the disk
        memory.parent.mkdir(parents=True, exist_ok=True)
        scratch = memory.with_name(f"{memory.name}.{os.getpid()}")
        scratch.write_text(json.dumps({"reader": _reader(), "modules": documents}))
        scratch.replace(memory)
