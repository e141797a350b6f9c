"""The folder of a confined child: what it is handed, what it makes, and how both cross the border."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import FailedError, UnsafeInputError, UsageError
from edgekit.jobs.scratch import Scratch, remove, sweep

_PREFIX = "room-"
#: A model folder that somebody hands in holds a handful of files.
MOST_FILES = 10_000
#: Folders of a model that lie in each other.
_DEEPEST = 32
_CHUNK = 1 << 20


class Room:
    """A folder with ``in``, which the child reads, and ``out``, which it writes into."""

    def __init__(self, near: Path) -> None:
        """Make the folder below ``near``, the store's, whose files can then be handed in without being copied.

        Raises:
            UsageError: it cannot be written.
        """
        rooms, self._near = near / "rooms", near
        try:
            rooms.mkdir(parents=True, exist_ok=True)
            sweep(rooms, _PREFIX)
            self._folder = Scratch(rooms, _PREFIX)
            self.inside, self.out = self._folder.path / "in", self._folder.path / "out"
            for folder in (self.inside, self.out, self.out / "home", self.out / "tmp"):
                folder.mkdir()
        except OSError as error:
            raise UsageError(
                f"{rooms} cannot be written: {error.strerror or error}",
                hint="Free space there, or point EDGEKIT_HOME at a folder that can be written.",
            ) from error
        self._brought: dict[Path, Path] = {}
        self._count = 0

    @property
    def variables(self) -> dict[str, str]:
        """What the child takes for its user's name, home and temporary folder."""
        return {"USER": "edgekit", "HOME": str(self.out / "home"), "TMPDIR": str(self.out / "tmp")}

    def bring(self, path: Path) -> Path:
        """Hand a file or a folder in; returns where the child finds it, under the same name.

        What lies in the store never changes and gets a second name, once, with all that was made beside it: weights lie
        in files of their own (``model.bin``). All else is not ours, may be another one by now, and is copied each time,
        with the files of its name.
        """
        if path in self._brought:
            return self._brought[path]
        place = self._numbered(self.inside) / path.name
        if not path.is_relative_to(self._near):
            copy(path, place, follow=True)
            for beside in _of_its_name(path):
                copy(beside, place.with_name(beside.name), follow=False)
            return place
        if path.is_file():
            for beside in path.parent.iterdir():
                if beside.is_file() and not beside.is_symlink():
                    _link(beside, place.with_name(beside.name))
        else:
            shutil.copytree(path, place, copy_function=_link)
        self._brought[path] = place
        return place

    def folder(self) -> Path:
        """A new folder that the child may write into."""
        return self._numbered(self.out)

    def fetch(self, folder: Path, destination: Path, most_bytes: int) -> None:
        """Copy what the child wrote, and remove it there.

        Copied and not moved: the child may still hold the file open.

        Raises:
            FailedError: there is something else than files and folders, or more than ``most_bytes`` in them. Holes in
                files take the child no room, and their copies do.
        """
        left = _Left(bytes=most_bytes)
        try:
            for path in folder.iterdir():
                copy(path, destination / path.name, follow=False, left=left)
        except (UnsafeInputError, UsageError) as error:
            raise FailedError(f"a confined step wrote what is not let out: {error}") from error
        remove(folder)

    def fetch_part(self, folder: Path, name: str, destination: Path, most_bytes: int) -> None:
        """The same for one folder of what the child wrote, which goes on writing others; raises as ``fetch`` does."""
        if name != Path(name).name:
            raise FailedError(f"a confined step says that it made {name!r}, which is none of its folders")
        try:
            copy(folder / name, destination / name, follow=False, left=_Left(bytes=most_bytes))
        except (UnsafeInputError, UsageError) as error:
            raise FailedError(f"a confined step wrote what is not let out: {error}") from error
        remove(folder / name)

    def exceeds(self, most_bytes: int) -> bool:
        """Whether what the child wrote takes more of the disk, or is more files than any model has."""
        files = taken = 0
        ahead = [(str(self.out), 0)]
        while ahead:
            folder, depth = ahead.pop()
            try:
                entries = list(os.scandir(folder))
            except FileNotFoundError:  # gone again
                continue
            except OSError:  # a name too long, or a folder that was closed to us
                return True
            for entry in entries:
                files += 1
                with contextlib.suppress(FileNotFoundError):
                    taken += 512 * entry.stat(follow_symlinks=False).st_blocks
                if entry.is_dir(follow_symlinks=False):
                    ahead.append((entry.path, depth + 1))
            if files > MOST_FILES or taken > most_bytes or depth > _DEEPEST:
                return True
        return False

    def close(self) -> None:
        """Remove the folder."""
        self._folder.close()

    def _numbered(self, parent: Path) -> Path:
        self._count += 1
        folder = parent / str(self._count)
        folder.mkdir()
        return folder


def _of_its_name(path: Path) -> list[Path]:
    """Files beside a model file that carry its name: ``model.bin`` of ``model.xml``, ``model.onnx.data``."""
    if not path.is_file():
        return []
    siblings = (p for p in path.parent.iterdir() if p != path and p.name.startswith(f"{path.stem}."))
    return [p for p in siblings if p.is_file() and not p.is_symlink()]


@dataclass
class _Left:
    """How much more may be copied."""

    files: int = MOST_FILES
    bytes: float = math.inf

    def take(self, source: Path, *, files: int = 0, size: int = 0) -> None:
        self.files -= files
        self.bytes -= size
        if self.files < 0:
            raise UsageError(f"{source} holds more than {MOST_FILES} files")
        if self.bytes < 0:
            raise UsageError(f"{source} is larger than what may be copied")


def copy(source: Path, destination: Path, *, follow: bool, left: _Left | None = None) -> None:
    """Copy a file, or a folder with its files, looking at what each is after it was opened.

    Args:
        source: what to copy; links below it are never followed.
        destination: does not exist yet.
        follow: whether ``source`` itself may be a link, as a path that the user typed may.
        left: how much may be copied, where that is less than any model.

    Raises:
        UnsafeInputError: a link below a folder, or something that is neither a file nor a folder.
        UsageError: more files than a model has, or one that cannot be read.
    """
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        _copy(os.open(source, flags), source, destination, left or _Left())
    except RecursionError as error:
        raise UsageError(f"{source} holds folders in each other by the hundred") from error
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}") from error


def _copy(descriptor: int, source: Path, destination: Path, left: _Left) -> None:
    """Copy what was opened; closes it."""
    try:
        found = os.fstat(descriptor)
        kind = found.st_mode
        if stat.S_ISREG(kind):
            left.take(source, size=found.st_size)
            with open(descriptor, "rb", closefd=False) as read, destination.open("xb") as written:
                for start in range(0, found.st_size, _CHUNK):  # no further, should it grow
                    written.write(read.read(min(_CHUNK, found.st_size - start)))
        elif stat.S_ISDIR(kind):
            destination.mkdir()
            for name in sorted(os.listdir(descriptor)):
                left.take(source, files=1)
                _copy(_open_below(descriptor, name, source), source / name, destination / name, left)
        else:
            raise UnsafeInputError(f"{source} is neither a file nor a folder")
    finally:
        os.close(descriptor)


def _open_below(folder: int, name: str, where: Path) -> int:
    if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise UnsafeInputError(
            f"{where / name} is a link to {os.readlink(name, dir_fd=folder)}",
            hint="Hand in a copy of what it points at, or pass --trust if you know where the folder comes from.",
        )
    return os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)


def _link(source: str | Path, destination: str | Path) -> None:
    """A second name for the same file, or a copy where the file system has none."""
    try:
        os.link(source, destination, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, destination)
