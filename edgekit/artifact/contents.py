"""What lies in an artifact's folder, and whether it is what was sealed.

``manifest.json`` lists every other file with its hash; ``manifest.sha256`` holds the manifest's own, in the format of
``sha256sum``. Nobody signs it: a seal that holds proves a whole copy, not who made it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ValidationError

from edgekit.errors import UnsafeInputError, UsageError
from edgekit.jobs.listing import look
from edgekit.jobs.store import sha256_file, sha256_json
from edgekit.result import File

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
CARD = "README.md"

#: How many faults a sentence names.
_NAMED = 8


class _Listing(BaseModel):
    """The part of a manifest that every kind and every release has."""

    files: tuple[File, ...]


def list_files(paths: Mapping[str, Path]) -> tuple[File, ...]:
    """Each file with its hash and size, under its name in the artifact."""
    return tuple(File(path=name, sha256=sha256_file(path), bytes=path.stat().st_size) for name, path in paths.items())


def sha256_of(files: Iterable[File]) -> str:
    """Of all files of an artifact but its card, which says what making it took: equal where the same files came out."""
    return sha256_json(sorted([file.path, file.sha256] for file in files if file.path != CARD))


def sealed_files(folder: Path) -> tuple[File, ...]:
    """Every file below a folder of our own making except the manifest and its seal, sorted."""
    own = (folder / MANIFEST, folder / SEAL)
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path not in own)
    return list_files({path.relative_to(folder).as_posix(): path for path in paths})


def seal_of(folder: Path) -> str:
    """The text of the seal for the manifest that is there."""
    return f"{sha256_file(folder / MANIFEST)}  {MANIFEST}\n"


def no_artifact(folder: Path) -> str:
    """Why a path is no artifact's folder: nothing is there, or no manifest in it."""
    return f"{folder} holds no {MANIFEST}" if folder.is_dir() else f"no such folder: {folder}"


def faults(folder: Path) -> dict[str, str]:
    """What is not as it was sealed: name in the folder -> what is wrong with it. Empty: all is whole.

    Besides altered, missing and unlisted files that is whatever an artifact never holds: links, empty folders, pipes,
    sockets, devices, and setuid, setgid and sticky bits on files.

    Raises:
        UsageError: this is no artifact: neither a manifest nor its seal is there.
    """
    if not os.path.lexists(folder / MANIFEST) and not os.path.lexists(folder / SEAL):
        raise UsageError(no_artifact(folder), hint="Give the folder that `edgekit convert` wrote.")
    listing = look(folder)
    found = dict(listing.faults)
    present = {name: File(path=name, sha256=one.sha256, bytes=one.bytes) for name, one in listing.files.items()}
    for name in (MANIFEST, SEAL):
        if name not in present and name not in found:
            found[name] = "is missing"
    if MANIFEST in found or SEAL in found:
        return found
    if (folder / SEAL).read_bytes() != seal_of(folder).encode():
        return {MANIFEST: f"is altered (or {SEAL} is)", **found}
    try:
        listed = _Listing.model_validate_json((folder / MANIFEST).read_bytes()).files
    except ValidationError:
        return {MANIFEST: "is not a manifest", **found}
    known = {file.path: file for file in listed}
    if outside := [name for name in known if not is_inside(name)]:
        return {MANIFEST: f"lists {outside[0]!r}, which is no path inside of the folder", **found}
    for name in sorted((known.keys() | present.keys()) - {MANIFEST, SEAL} - found.keys()):
        if name not in present:
            found[name] = "is missing"
        elif name not in known:
            found[name] = f"is not listed in {MANIFEST}"
        elif present[name] != known[name]:
            found[name] = "is altered"
    return found


def check(folder: Path) -> None:
    """Refuse a folder that is not what was sealed: what its manifest says is not of these files.

    Raises:
        UnsafeInputError: it was edited, or came in parts.
    """
    if found := faults(folder):
        raise UnsafeInputError(
            f"{folder} is not what was sealed: {sentence(found)}",
            hint="Convert again, or copy the artifact again; a changed model file is taken by its own name.",
        )


def sentence(found: Mapping[str, str]) -> str:
    """Faults in words, the first few by name."""
    named = [f"{name} {what}" for name, what in list(found.items())[:_NAMED]]
    rest = len(found) - len(named)
    return "; ".join([*named, *([f"and {rest} more"] if rest else [])])


def is_inside(name: str) -> bool:
    """Whether a name from a manifest is that of something below its folder."""
    path = PurePosixPath(name)
    inside = not path.is_absolute() and ".." not in path.parts and path.parts != ()
    return inside and path.as_posix() == name and "\0" not in name
