"""Zip archives that somebody handed in."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from edgekit.errors import DamagedFileError, UnsafeInputError

#: What ``zipfile`` raises on damaged archives: wrong structure, ends, flags, or compressed data.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError, RuntimeError)


def open_zip(path: Path | io.BytesIO, name: str) -> zipfile.ZipFile:
    """Open a zip after checking the checksum of every member and that no member's name leaves the archive."""
    try:
        opened = zipfile.ZipFile(path)
        bad = opened.testzip()
    except _ZIP_ERRORS as error:
        raise DamagedFileError(f"{name} is not a whole zip archive: {error}", hint="Fetch or save it again.") from error
    if bad is not None:
        raise DamagedFileError(f"{name} is damaged: the checksum of {bad!r} is wrong", hint="Fetch or save it again.")
    for member in opened.namelist():
        if PurePosixPath(member).is_absolute() or ".." in PurePosixPath(member.replace("\\", "/")).parts:
            raise UnsafeInputError(f"{name} has the member {member!r}, which would be written outside of its folder")
    return opened
