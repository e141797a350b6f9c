"""What lies below a folder: its plain files with their hashes, and whatever else there is, without following a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path


@dataclass(frozen=True)
class Content:
    """A file's bytes: SHA-256, hexadecimal, and how many."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Listing:
    """Names relative to the folder: plain files, and what is wrong with all else."""

    files: dict[str, Content] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def look(folder: Path) -> Listing:
    """List and hash everything below a folder.

    Faults are links, empty folders, pipes, sockets, devices, files with setuid, setgid or sticky bits, and what cannot
    be read: none of them belongs where only files are kept.
    """
    found = Listing()
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        try:
            if wrong := _unusual(path):
                found.faults[name] = wrong
            elif not stat.S_ISDIR(path.lstat().st_mode):
                found.files[name] = content(path)
        except OSError as error:
            found.faults[name] = f"cannot be read: {error.strerror or error}"
    return found


def content(path: Path) -> Content:
    """Hash a plain file; what is put in its place meanwhile is neither followed nor waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        return Content(file_digest(stream, "sha256").hexdigest(), os.fstat(descriptor).st_size)


def read(path: Path) -> bytes:
    """Read a plain file; raises ``OSError`` for anything else, also for what would be waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return stream.read()


def size(folder: Path) -> int:
    """Bytes of all files below a folder, without reading them."""
    total = 0
    for path in _walk(folder):
        try:
            found = path.lstat()
        except OSError:
            continue  # it has just gone
        total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


def _walk(folder: Path) -> Iterator[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return  # ``look`` says so of the folder itself
    for path in paths:
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _unusual(path: Path) -> str:
    """What is wrong with the kind of a directory entry; nothing for plain files and folders that hold something."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "is a link"
    if stat.S_ISDIR(mode):
        return "" if any(path.iterdir()) else "is an empty folder"
    if not stat.S_ISREG(mode):
        return "is a pipe, a socket or a device"
    return "has a setuid, setgid or sticky bit" if mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX) else ""
