"""A toolchain's file, not executed: what is inside, what its graph is made of, short names for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit import toolchains
from edgekit.result import Inspected
from edgekit.signature import State, Trait
from edgekit.steps import File
from edgekit.toolchains import Scaled


@dataclass(frozen=True)
class Request:
    """A file of a toolchain, or one entry of it."""

    toolchain: str
    file: File
    entry: str | None = None


def run(folder: Path, request: Request) -> Inspected:
    """What is inside."""
    return toolchains.audit(request.toolchain, Path(request.file), request.entry)


@dataclass(frozen=True)
class Beyond:
    """What a file has beyond its audit.

    Attributes:
        size_bytes: of the file, and of those that it needs beside it.
        scales: of its tensors; None where they are not read from this format.
    """

    size_bytes: int
    scales: tuple[Scaled, ...] | None


def beyond(folder: Path, request: Request) -> Beyond:
    """Read that; nothing is executed."""
    file, name, entry = Path(request.file), request.toolchain, request.entry
    beside = toolchains.audit(name, file, entry).beside
    files = [one for one in file.rglob("*") if one.is_file()] if file.is_dir() else [file]
    size = sum(one.stat().st_size for one in (*files, *(file.parent / one for one in beside)))
    return Beyond(size, toolchains.scales_of(name, file, entry))


@dataclass(frozen=True)
class Delegated:
    """Operators by type, how many a fast delegate runs and of how many; None where that cannot be told."""

    delegated: dict[str, tuple[int, int]] | None


def delegated(folder: Path, request: Request) -> Delegated:
    """Read that, or have the runtime open the file where only that tells."""
    return Delegated(toolchains.delegated(request.toolchain, Path(request.file), request.entry))


@dataclass(frozen=True)
class TraitsRequest:
    """A proven float file of a toolchain; ``states`` are those of the part that it was made of."""

    toolchain: str
    file: File
    states: tuple[State, ...]


def traits(folder: Path, request: TraitsRequest) -> frozenset[Trait]:
    """What the graph is made of; of a model that has no file yet, see ``traits.py``."""
    return toolchains.traits_of(request.toolchain, Path(request.file), request.states)


@dataclass(frozen=True)
class Compacted:
    """Name of the smaller file; None where it stays as it is. ``renamed``: its names are others."""

    file: str | None
    renamed: bool = False


def compact(folder: Path, request: Request) -> Compacted:
    """Write a file smaller than it is, and where that is by short names, ``names.json`` beside it."""
    names = toolchains.compact(request.toolchain, Path(request.file), folder)
    if names is None:
        return Compacted(None)
    if names == toolchains.Names():
        return Compacted(Path(request.file).name)
    document = {"schema": 1, **asdict(names)}
    (folder / "names.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")
    return Compacted(Path(request.file).name, renamed=True)
