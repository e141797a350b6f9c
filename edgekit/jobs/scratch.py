"""Folders that go when their owner is done, and that a later run sweeps where the owner was killed.

The owner holds a lock on the folder itself (flock(2)), which the system releases however the process ends: no process
number that another process may have by now, no clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from edgekit.jobs import interruption

#: Before a folder is locked it carries this name, so that a sweep never meets one that is not locked yet; of a
#: process that was killed at that very moment an empty folder stays, which is removed when it is this old.
_UNBORN = "unborn-"
_UNBORN_SECONDS = 3600.0
_RANDOM_BYTES = 6


class Scratch:
    """A new folder ``<prefix><random>`` that is removed by ``close``; a context manager."""

    def __init__(self, parent: Path, prefix: str) -> None:
        """Make the folder.

        Raises:
            OSError: ``parent`` does not exist or cannot be written.
        """
        name = secrets.token_hex(_RANDOM_BYTES)
        self.path = parent.absolute() / f"{prefix}{name}"
        self._unborn = self.path.with_name(f"{prefix}{_UNBORN}{name}")
        self._lock: int | None = None
        interruption.opened(self, self.close)
        try:
            self._unborn.mkdir(0o700)
            self._lock = locked_folder(self._unborn)
            self._unborn.rename(self.path)
        except BaseException:  # an interruption, too: no folder stays
            self.close()
            raise

    def close(self) -> None:
        """Remove the folder, unless it was renamed, and give up its lock."""
        for path in (self._unborn, self.path):
            remove(path)
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            os.close(descriptor)
        interruption.closed(self)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def locked_folder(path: Path) -> int | None:
    """Hold a folder against sweeps; None where its file system knows no such locks, and sweeps leave it alone."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def exclusively(path: Path) -> Iterator[bool]:
    """Try to lock a folder for oneself; False where it is gone, another holds it, or it cannot be locked at all."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def claim(path: Path) -> Iterator[None]:
    """Be the only one, in any process or thread, who holds this name; waits for others.

    The file is gone afterwards. Whoever waited for it sees that, and tries again with a new one.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with contextlib.suppress(OSError):  # where files cannot be locked, work may be done twice
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be done; also what is nested beyond any recursion."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(path, ignore_errors=True)
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(OSError):
            _flatten(path)


def _flatten(top: Path) -> None:
    """Remove a tree whose paths may be longer than the system takes: folders are moved up, and go one by one."""
    moved = 0
    while folders := [path for path in top.iterdir() if path.is_dir() and not path.is_symlink()]:
        for folder in folders:
            folder.chmod(0o700)
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    moved += 1
                    path.rename(top / f".{moved}-{secrets.token_hex(_RANDOM_BYTES)}")
                else:
                    path.unlink()
            folder.rmdir()
    for path in top.iterdir():
        path.unlink()
    top.rmdir()


def sweep_claims(folder: Path) -> None:
    """Remove the names that killed processes held."""
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def sweep(parent: Path, prefix: str) -> int:
    """Remove this user's folders ``<prefix><random>`` whose owner is dead; return how many."""
    ours = re.compile(f"{re.escape(prefix)}({re.escape(_UNBORN)})?[0-9a-f]{{{2 * _RANDOM_BYTES}}}")
    swept = 0
    for path in parent.glob(f"{prefix}*"):
        if not ours.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue
            if path.name.startswith(f"{prefix}{_UNBORN}") and time.time() - found.st_mtime < _UNBORN_SECONDS:
                continue
            with exclusively(path) as dead:
                if dead:
                    remove(path)
                    swept += not path.exists()
    return swept


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush everything below ``folder``, then the folder, so that a rename publishes whole content."""
    for path in [*folder.rglob("*"), folder]:
        flush(path)
