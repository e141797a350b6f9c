"""The catalogues that a user reads and edits: targets, recipes, calibration plans, devices and suites of benchmarks.

An entry is one TOML file, found by its name. Search order: a path that was given, the current folder's own
catalogue, each folder of ``EDGEKIT_PATH``, the packaged one.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import UsageError, unknown_name

Catalogue = Literal["targets", "targets/recipes", "calibration", "benchmarks/devices", "benchmarks/suites"]
#: What an entry of each is called, as `edgekit list` lists them.
_ENTRY: dict[Catalogue, str] = {
    "targets": "target",
    "targets/recipes": "recipe",
    "calibration": "range",
    "benchmarks/devices": "device",
    "benchmarks/suites": "suite",
}

_PACKAGE = Path(__file__).parent
#: Bytes of an entry; the packaged ones have a few thousand.
_LARGEST = 1 << 20
#: Of one line. ``tomllib`` takes time by the square of how many parts a key has: a mebibyte of them takes it hours.
_MOST_DOTS = 500


def _packaged() -> Path:
    """In a wheel the catalogues lie inside the package; in a checkout beside it."""
    inside = _PACKAGE / "_catalogues"
    return inside if inside.is_dir() else _PACKAGE.parent


def folders(catalogue: Catalogue) -> list[Path]:
    """Existing folders of a catalogue, first match wins."""
    roots = [Path.cwd(), *(Path(p) for p in os.environ.get("EDGEKIT_PATH", "").split(os.pathsep) if p), _packaged()]
    found: list[Path] = []
    for root in roots:
        folder = (root / catalogue).resolve()
        if folder.is_dir() and folder not in found:
            found.append(folder)
    return found


def names(catalogue: Catalogue) -> list[str]:
    """Names of all entries, sorted."""
    return sorted({p.stem for folder in folders(catalogue) for p in folder.glob("*.toml") if p.is_file()})


def is_packaged(catalogue: Catalogue, path: Path) -> bool:
    """Whether a file is one that edgekit brings."""
    return path.resolve().parent == (_packaged() / catalogue).resolve()


def stands_in(catalogue: Catalogue, path: Path) -> bool:
    """Whether a file of somebody's own has the name of a packaged one and another content."""
    packaged = _packaged() / catalogue / path.name
    return not is_packaged(catalogue, path) and packaged.is_file() and packaged.read_bytes() != path.read_bytes()


def find(catalogue: Catalogue, name: str) -> Path:
    """Find the file of an entry by path or name; raises ``UsageError`` with the nearest name."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise UsageError(
                f"no such file: {name}", hint=f"Give a name instead: see `edgekit list {_ENTRY[catalogue]}s`."
            )
        return path
    for folder in folders(catalogue):
        path = folder / f"{name}.toml"
        if path.is_file():
            return path
    raise unknown_name(_ENTRY[catalogue], name, names(catalogue))


def read(path: Path) -> dict[str, Any]:
    """Parse a TOML file and check ``schema = 1``; raises ``UsageError`` naming the file and the place."""
    content = toml(path)
    if content.pop("schema", None) != 1:
        raise UsageError(f"{path.name} has no `schema = 1`", hint="Add `schema = 1` as its first line.")
    return content


def toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file of no more than a mebibyte; raises ``UsageError`` naming the file and the place."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path.name} is larger than {_LARGEST >> 20} MiB", hint="Correct the file.")
        text = path.read_text("utf-8-sig")  # some editors begin a file so
        for number, line in enumerate(text.splitlines(), 1):
            if line.count(".") > _MOST_DOTS:
                raise UsageError(
                    f"{path.name} has more than {_MOST_DOTS} dots in line {number}", hint="Break the line into several."
                )
        return tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="Correct the file.") from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number of thousands of digits, nested deep
        raise UsageError(f"{path.name} is not valid TOML: {error}", hint="Correct the file.") from error
