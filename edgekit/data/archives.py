"""Zip archives that somebody handed in: looked at before they are unpacked, and no further than they are real."""

from __future__ import annotations

import io
import shutil
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from edgekit.errors import DamagedFileError, UnsafeInputError

#: What ``zipfile`` raises on damaged archives: wrong structure, ends, flags, names, or compressed data.
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, RuntimeError, KeyError,
)  # fmt: skip
#: How much larger than the archive its members may say that they are. The frameworks store weights as they are, and
#: Keras draws the same line; beyond it lie archives that unpack 3 MB to 12 TB.
_MOST_EXPANSION = 100
_ALWAYS_ALLOWED_BYTES = 256 << 20
_MOST_MEMBERS = 100_000
_START = b"PK\x03\x04"


def open_zip(path: Path | io.BytesIO, name: str) -> zipfile.ZipFile:
    """Open a zip after looking at what its directory says, and unpack nothing.

    Raises:
        DamagedFileError: no zip, or one that says to hold far more than it can.
        UnsafeInputError: a member is there twice, of which one reader takes the first and another the last, or its name
            leaves the archive.
    """
    try:
        opened = zipfile.ZipFile(path)
    except ZIP_ERRORS as error:
        raise _damaged(name, error) from error
    members = opened.infolist()
    size = path.stat().st_size if isinstance(path, Path) else len(path.getbuffer())
    said = sum(member.file_size for member in members)
    if said > max(_ALWAYS_ALLOWED_BYTES, _MOST_EXPANSION * size) or len(members) > _MOST_MEMBERS:
        raise DamagedFileError(
            f"{name} has {size} bytes and says to hold {said} in {len(members)} files: that cannot be",
            hint="Fetch or save it again.",
        )
    for member, count in Counter(member.filename for member in members).items():
        parts = PurePosixPath(member).parts
        if PurePosixPath(member).is_absolute() or ".." in parts or "\\" in member or "\0" in member:
            raise UnsafeInputError(f"{name} has the member {member!r}, which would be written outside of its folder")
        if count > 1:
            raise UnsafeInputError(
                f"{name} has the member {member!r} {count} times: what is checked would not be what is loaded"
            )
    return opened


def pickled(given: object) -> UnsafeInputError:
    """The error for arrays of objects, which NumPy stores as pickles: they run code when they are loaded."""
    return UnsafeInputError(
        f"{given} holds pickled objects, which run code when they are loaded", hint="Store plain arrays of numbers."
    )


def read(opened: zipfile.ZipFile, member: str, name: str, most: int) -> bytes:
    """One member's bytes, its checksum held.

    Raises:
        DamagedFileError: missing, altered, or larger than ``most`` bytes.
    """
    try:
        if opened.getinfo(member).file_size > most:
            raise DamagedFileError(f"{name}: {member!r} says to have {opened.getinfo(member).file_size} bytes")
        return opened.read(member)
    except ZIP_ERRORS as error:
        raise _damaged(f"{name}: {member!r}", error) from error


def check_sums(opened: zipfile.ZipFile, name: str) -> None:
    """Unpack every member to nowhere, so that a wrong checksum shows.

    Raises:
        DamagedFileError: a member is altered.
    """
    for member in opened.namelist():
        try:
            with opened.open(member) as packed:
                while packed.read(1 << 20):
                    pass
        except ZIP_ERRORS as error:
            raise _damaged(f"{name}: {member!r}", error) from error


def rewrite(opened: zipfile.ZipFile, name: str, destination: Path | io.BytesIO) -> None:
    """Write the archive anew, its members as they are read here, unpacked, one after the other and nothing else.

    Readers of zips differ in what they make of gaps, headers that contradict the directory, and several ends. Of this
    one there is one reading. A member that is a zip itself is written anew as well.

    Raises:
        DamagedFileError: a member is altered.
        UnsafeInputError: see ``open_zip``, for a zip in the zip.
    """
    with zipfile.ZipFile(destination, "w", zipfile.ZIP_STORED) as written:
        for member in opened.infolist():
            try:
                with opened.open(member) as packed:
                    head = packed.read(len(_START))
                    inner = io.BytesIO()
                    if head == _START and isinstance(destination, Path):
                        whole = io.BytesIO(head + packed.read())
                        rewrite(open_zip(whole, f"{name}: {member.filename!r}"), name, inner)
                        written.writestr(_clean(member), inner.getvalue())
                        continue
                    with written.open(_clean(member), "w") as plain:
                        plain.write(head)
                        shutil.copyfileobj(packed, plain, 1 << 20)
            except ZIP_ERRORS as error:
                raise _damaged(f"{name}: {member.filename!r}", error) from error


def _clean(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    clean = zipfile.ZipInfo(member.filename)
    clean.file_size = member.file_size  # so that the sizes of what is large get room
    return clean


def _damaged(name: str, error: Exception) -> DamagedFileError:
    return DamagedFileError(f"{name} is not a whole zip archive: {error}", hint="Fetch or save it again.")
