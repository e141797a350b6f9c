"""Where an artifact is written: a folder appears under its name complete or not at all, and nothing of others goes.

An older artifact of that name is replaced by one exchange of the two names (``renameat2`` of Linux), so whoever looks
always finds one of them. Where the system or the file system has no exchange, the old one is renamed away first: a
looker may then find nothing for a moment, and a process that is killed in it leaves the old one as
``.edgekit-writing-...``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgekit.artifact import contents
from edgekit.errors import EdgekitError, UsageError
from edgekit.jobs.scratch import Scratch, flush, flush_folder, locked_folder, sweep

_PREFIX = ".edgekit-writing-"
_ANOTHER = "Give another folder with -o, or remove it yourself."

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
#: What says that a file system, or a system, has no such rename.
_NO_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
#: How long to wait for others who publish into the same folder; an exchange takes milliseconds.
_TURN_SECONDS = 30.0
#: How often to try again where another writer came first.
_TURNS = 1000


def rejected(destination: Path) -> Path:
    """Where a candidate goes that did not pass."""
    return destination.with_name(destination.name + ".rejected")


def check(destination: Path, given: Iterable[Path] = ()) -> None:
    """Refuse a destination that cannot be written or must not be replaced; for the start, before any work.

    Args:
        destination: the artifact's folder. Its ``.rejected`` is checked with it.
        given: files and folders that are read: the destination is neither inside of one nor around it.

    Raises:
        UsageError: it is no name of a folder, a link, a file, a mount point, the current folder or one around it,
            somebody's folder or an artifact that was altered, inside of what is read, or cannot be written.
    """
    if destination.name in ("", ".."):
        raise UsageError(f"{destination} is no name for a new folder", hint="Give -o NAME or -o some/folder/NAME.")
    for path in (destination, rejected(destination)):
        try:
            place = path.absolute().parent.resolve() / path.name
            if reason := _obstacle(place) or _overlap(place, given):
                raise UsageError(f"{path} {reason}", hint=_ANOTHER)
        except (OSError, ValueError, RuntimeError) as error:  # names too long, with a NUL, or links in a circle
            raise unwritable(path, error) from error
    try:
        Scratch(_nearest(destination), _PREFIX).close()
    except OSError as error:
        raise unwritable(destination, error) from error


def _obstacle(place: Path) -> str:
    """Why what is at this place must stay there; nothing where it may be replaced, or where nothing is."""
    for _ in range(_TURNS):
        before = _identity(place)
        try:
            reason = _kept(place)
        except FileNotFoundError:
            reason = "changes while it is looked at"
        if not reason or before == _identity(place):  # else another writer replaced it meanwhile
            return reason
    return "is replaced by others all the time"


def _identity(place: Path) -> tuple[int, int] | None:
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns  # the numbers of deleted folders are used again


def _kept(place: Path) -> str:
    if not os.path.lexists(place):
        return ""
    if place.is_symlink():
        return "is a link"
    if not place.is_dir():
        return "exists and is a file, not an edgekit artifact"
    if os.path.ismount(place):
        return "is a mount point"
    if Path.cwd().is_relative_to(place):
        return "is the current folder, or one around it"
    if not any(place.iterdir()):
        return ""
    if not os.path.lexists(place / contents.MANIFEST):
        return "exists and is not an edgekit artifact"
    if found := contents.faults(place):
        return f"exists and is not an edgekit artifact as it was sealed: {contents.sentence(found)}"
    return ""


def _overlap(place: Path, given: Iterable[Path]) -> str:
    for folder in place.parents:
        if (folder / contents.MANIFEST).is_file() and (folder / contents.SEAL).is_file():
            return f"lies inside of the artifact {folder}, whose seal says what is in it"
    for path in given:
        real = path.resolve()
        if place.is_relative_to(real):
            return f"lies inside of {path}, which is read"
        if real.is_relative_to(place):
            return f"holds {path}, which is read"
    return ""


def _nearest(destination: Path) -> Path:
    """The nearest folder around the destination that exists."""
    return next(folder for folder in destination.absolute().parents if folder.exists())


@contextlib.contextmanager
def writing(destination: Path) -> Iterator[Path]:
    """A folder to write into that is published under its name at the end of the block, complete or not at all.

    Raises:
        UsageError: it cannot be written, or what is there must not be replaced; nothing has changed then.
    """
    try:
        around = _nearest(destination)
        sweep(around, _PREFIX)
        with Scratch(around, _PREFIX) as scratch:
            yield scratch
            flush_folder(scratch)
            scratch.chmod(0o755)
            destination.parent.mkdir(parents=True, exist_ok=True)
            with _turn(destination.parent):
                _publish(scratch, destination)
    except OSError as error:
        raise unwritable(destination, error) from error


def _publish(scratch: Path, destination: Path) -> None:
    """Give ``scratch`` its name; what was there before is in ``scratch`` afterwards, looked at once more."""
    place = destination.absolute().parent.resolve() / destination.name
    for _ in range(_TURNS):
        if reason := _obstacle(place):
            raise UsageError(f"{destination} {reason}", hint=_ANOTHER)
        try:
            if os.path.lexists(place):
                _replace(scratch, place, destination)
            else:
                _rename_to_nothing(scratch, place)
            break
        except (FileExistsError, FileNotFoundError):  # another writer came first, in a folder that cannot be locked
            continue
    flush(place.parent)


def _replace(scratch: Path, place: Path, destination: Path) -> None:
    held = locked_folder(place)  # under its new name no sweep may take it for what a killed run left
    try:
        _exchange(scratch, place)
        if reason := _obstacle(scratch):  # somebody put something in between the look and the exchange
            _exchange(scratch, place)
            raise UsageError(f"{destination} {reason}", hint=_ANOTHER)
    finally:
        if held is not None:
            os.close(held)


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change names, in one step where the system can."""
    try:
        _renameat2(one, other, _RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        aside = one.with_name(f"{one.name}-old")
        other.rename(aside)
        try:
            one.rename(other)
        except OSError:
            aside.rename(other)
            raise
        aside.rename(one)


def _rename_to_nothing(folder: Path, place: Path) -> None:
    try:
        _renameat2(folder, place, _RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _NO_EXCHANGE:
            raise
        folder.rename(place)  # refused by the system where the place is anything but an empty folder


def _renameat2(old: Path, new: Path, flags: int) -> None:
    """rename(2) with flags, of Linux 3.15 and glibc 2.28 on; raises ``OSError`` as it does."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if library.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(new))


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Take turns with others who publish into a folder, where it can be locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    deadline = time.monotonic() + _TURN_SECONDS
    try:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


def unwritable(destination: Path, error: Exception) -> EdgekitError:
    """The error for a place that cannot be written."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return UsageError(
        f"the artifact {destination} cannot be written: {said}",
        hint=f"{'Free space there, or give' if full else 'Give'} another folder with -o.",
    )


def copy_into(folder: Path, name: str, path: Path) -> None:
    """Copy a file under its name in the artifact."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / name)
