"""The content-addressed store: results of steps, kept under the SHA-256 of everything that went in.

An entry is a folder ``<home>/store/<key>/`` with ``entry.json`` (what it was made from, the value, hashes of its
files), ``entry.sha256`` (the hash of that document) and ``files/``. It appears complete or not at all: written in a
folder of the run, flushed, renamed. What is not whole is never read, and made again.

A step that takes long tells what it has got so far (``Unfinished``), and goes on from there when it is asked for again.

A run works under a ``Lease``, a folder ``<home>/runs/run-...`` that it locks and in which it notes the entries that it
uses. They are spared by ``clear`` and by the size limit; what a killed run left in its folder goes with it at the next
start of any run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import platformdirs
from pydantic import BaseModel, ConfigDict

from edgekit.errors import DamagedFileError, FailedError, UsageError
from edgekit.jobs import listing
from edgekit.jobs.scratch import Scratch, claim, exclusively, flush, flush_folder, sweep, sweep_claims
from edgekit.jobs.wire import Json

A = TypeVar("A")

#: Size of the store where ``EDGEKIT_STORE_LIMIT`` does not say another.
DEFAULT_LIMIT = "8 GiB"
#: Down to this share of the limit, so that not every run has something to remove.
_ROOM = 0.9

_KEY = re.compile(r"[0-9a-f]{64}")
_ENTRY, _SEAL, _FILES = "entry.json", "entry.sha256", "files"
_RUN = "run-"
_USES = "uses"
#: Scratch folders of 0.1.0, whose owner nobody can tell.
_OLD_SCRATCH = "tmp-"
_OLD_SECONDS = 24 * 3600.0
#: What nobody went on with for so long goes.
_UNFINISHED_SECONDS = 30 * 24 * 3600.0


def home() -> Path:
    """``EDGEKIT_HOME``, or the platform's cache folder."""
    given = os.environ.get("EDGEKIT_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("edgekit"))


def limit_bytes() -> int:
    """``EDGEKIT_STORE_LIMIT`` (bytes, or a number with KB, MB, GB, TB, KiB, MiB, GiB, TiB), or the default."""
    text = os.environ.get("EDGEKIT_STORE_LIMIT") or DEFAULT_LIMIT
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"EDGEKIT_STORE_LIMIT is {text!r}, which is no size", hint="Write it as 8GiB or 500MB.")
    number, prefix, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" kmgt".index(prefix.lower()) if prefix else 0))


def canonical(document: Json) -> bytes:
    """JSON with sorted keys and no spaces: equal documents give equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(document: Json) -> str:
    """SHA-256 of a document's canonical form, hexadecimal."""
    return hashlib.sha256(canonical(document)).hexdigest()


@dataclass(frozen=True)
class Entry(Generic[A]):
    """A finished step: its key, its answer (of the store itself as JSON), its files, whether it was found or made."""

    key: str
    value: A
    folder: Path
    reused: bool

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.folder / _FILES / name


class _Recorded(BaseModel):
    """``entry.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    material: dict[str, Json]
    value: Json
    files: dict[str, listing.Content]
    made: float


@dataclass(frozen=True)
class Usage:
    """How full the store is: bytes of all entries, the limit, and how many entries running processes use.

    Steps that did not end lie beside it and have no limit.
    """

    folder: str
    entries: int
    bytes: int
    limit_bytes: int
    in_use: int
    unfinished: int = 0
    unfinished_bytes: int = 0


@dataclass(frozen=True)
class Cleared:
    """How many entries were removed, how many spared because a running process uses them, how many unfinished went."""

    removed: int
    in_use: int
    unfinished: int = 0


class Store:
    """Entries below one folder; safe for concurrent processes and threads."""

    def __init__(self, root: Path | None = None) -> None:
        around = root or home()
        self.root = around / "store"
        self.runs = around / "runs"
        self.locks = around / "locks"
        self.unfinished = Unfinished(around)

    def lease(self) -> Lease:
        """What a run holds while it works; a context manager."""
        return Lease(self)

    def make(self, material: Json, produce: Callable[[Path], Json]) -> Entry[Json]:
        """As ``Lease.make``, for one entry alone."""
        with self.lease() as lease:
            return lease.make(material, produce)

    def find(self, key: str) -> Entry[Json] | None:
        """Return an entry with every file re-hashed; None where there is none, or not a whole one."""
        try:
            value = self._verified(key).value
        except DamagedFileError:
            return None
        return Entry(key, value, self.root / key, reused=True)

    def _verified(self, key: str) -> _Recorded:
        """Read an entry and hash all of it; raises ``DamagedFileError`` saying what is wrong."""
        folder = self.root / key
        if folder.is_symlink():
            raise DamagedFileError("it is a link")
        try:
            if unknown := {path.name for path in folder.iterdir()} - {_ENTRY, _SEAL, _FILES}:
                raise DamagedFileError(f"{min(unknown)} does not belong to it")
            text = listing.read(folder / _ENTRY)
            if listing.read(folder / _SEAL).decode() != _seal(text):
                raise DamagedFileError(f"{_ENTRY} is altered")
            recorded = _Recorded.model_validate(json.loads(text))
            if recorded.key != key or sha256_json(recorded.material) != key:
                raise DamagedFileError(f"{_ENTRY} does not match its key")
            if (folder / _FILES).is_symlink():
                raise DamagedFileError(f"{_FILES} is a link")
        except (OSError, ValueError, RecursionError) as error:
            raise DamagedFileError(f"it cannot be read: {error}") from error
        found = listing.look(folder / _FILES)
        for name in sorted(found.faults | found.files | recorded.files):
            if name in found.faults or found.files.get(name) != recorded.files.get(name):
                raise DamagedFileError(f"{name} is missing or altered")
        return recorded

    def keys(self) -> list[str]:
        """Keys of all entries, whole or not, sorted."""
        return [name for name in self._names() if _KEY.fullmatch(name)]

    def _names(self) -> list[str]:
        try:
            return sorted(path.name for path in self.root.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def rows(self) -> list[Json]:
        """One row per entry: key, step, bytes, made and used (seconds since the epoch), whether it is in use now."""
        used = self._in_use()
        rows = []
        for key in self.keys():
            folder = self.root / key
            try:
                recorded = _Recorded.model_validate(json.loads(listing.read(folder / _ENTRY)))
                step, made = str(recorded.material.get("step")), recorded.made
            except (OSError, ValueError, RecursionError):
                step, made = "not whole: it is made again when it is needed", None
            with contextlib.suppress(FileNotFoundError):  # it has just been removed
                last = folder.lstat().st_mtime
                row = {"key": key, "step": step, "bytes": listing.size(folder), "made": made, "used": last}
                rows.append({**row, "in_use": key in used})
        return rows

    def usage(self) -> Usage:
        """How full it is."""
        keys = self.keys()
        total = sum(listing.size(self.root / key) for key in keys)
        used, left = len(self._in_use().intersection(keys)), self.unfinished.steps()
        size = sum(listing.size(self.unfinished.root / key) for key in left)
        return Usage(str(self.root), len(keys), total, limit_bytes(), used, len(left), size)

    def verify(self) -> list[str]:
        """Re-hash everything; return one sentence per entry that is not whole (empty: all whole)."""
        damaged = []
        for name in self._names():
            try:
                if not _KEY.fullmatch(name):
                    raise DamagedFileError("this is no entry")
                self._verified(name)
            except DamagedFileError as error:
                damaged.append(f"{name}: {error}")
        return damaged

    def clear(self) -> Cleared:
        """Remove all entries and whatever else lies in the store, except what running processes use."""
        before = self.unfinished.steps()
        self.sweep()
        for key in self.unfinished.steps():
            if not (self.locks / key).exists():
                self.unfinished.drop(key)
        dropped = len(before) - len(self.unfinished.steps())
        names, keys = self._names(), self.keys()
        removed = self._remove(names)
        return Cleared(len(removed.intersection(keys)), len(keys) - len(removed.intersection(keys)), dropped)

    def evict(self) -> int:
        """Remove the entries that were not used for longest until the rest fits the limit; return how many."""
        limit = limit_bytes()
        found = []
        for key in self.keys():
            with contextlib.suppress(FileNotFoundError):
                found.append(((self.root / key).lstat().st_mtime, listing.size(self.root / key), key))
        total, used = sum(size for _, size, _ in found), self._in_use()
        if total <= limit:
            return 0
        chosen = []
        for _, size, key in sorted(found):
            if total > limit * _ROOM and key not in used:
                total -= size
                chosen.append(key)
        return len(self._remove(chosen))

    def sweep(self) -> None:
        """Remove what killed runs left."""
        sweep(self.runs, _RUN)
        sweep_claims(self.locks)
        self.unfinished.sweep()
        for path in self.root.glob(f"{_OLD_SCRATCH}*"):
            with contextlib.suppress(OSError):
                if time.time() - path.lstat().st_mtime > _OLD_SECONDS:
                    shutil.rmtree(path)

    def _remove(self, names: Sequence[str]) -> set[str]:
        """Remove what has these names unless it is in use: first the names, which takes no time, then the files."""
        removed: set[str] = set()
        if not names:
            return removed
        with _writable(self.root), Scratch(self.runs, _RUN) as trash, self.guard(fcntl.LOCK_EX):
            used = self._in_use()
            for name in names:
                if name in used or (name.startswith(_OLD_SCRATCH) and not _KEY.fullmatch(name)):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    (self.root / name).rename(trash / name)
                    removed.add(name)
        return removed

    def _in_use(self) -> set[str]:
        """Keys that living runs have noted."""
        used: set[str] = set()
        for run in self.runs.glob(f"{_RUN}*"):
            with exclusively(run) as dead:
                if not dead:
                    with contextlib.suppress(OSError):
                        used.update((run / _USES).read_text().split())
        return used

    @contextlib.contextmanager
    def guard(self, kind: int) -> Iterator[None]:
        """Keep an entry from going between being found and being noted: shared to take one, exclusive to remove."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


class Unfinished:
    """What steps that did not end have got so far: below ``<home>/unfinished/<key>/`` the latest of each, in a folder.

    It is a number, in which lie an answer and its files as in an entry.
    """

    def __init__(self, around: Path) -> None:
        self.root = around / "unfinished"

    def steps(self) -> list[str]:
        """Keys of all steps that left something."""
        return [path.name for path in self.root.glob("*") if _KEY.fullmatch(path.name)]

    def find(self, key: str) -> Entry[Json] | None:
        """What a step has got; None where it left nothing, or nothing that can be read."""
        for number in reversed(self._numbers(key)):
            folder = self.root / key / str(number)
            with contextlib.suppress(OSError, ValueError, RecursionError):
                return Entry(key, json.loads(listing.read(folder / _ENTRY)), folder, reused=True)
        return None

    def keep(self, key: str, made: Path, value: Json) -> None:
        """Take the folder that a step made, with what it would answer, in place of what was there before.

        Raises:
            UsageError: it cannot be written; what was there before stays.
        """
        before = self._numbers(key)
        with _writable(self.root):
            place, whole = self.root / key, made.with_name(f"{made.name}.whole")
            place.mkdir(parents=True, exist_ok=True)
            whole.mkdir()
            made.rename(whole / _FILES)
            (whole / _ENTRY).write_text(json.dumps(value), "utf-8")
            flush_folder(whole)
            whole.rename(place / str(max(before, default=0) + 1))
            flush(place)
        for number in before:
            shutil.rmtree(self.root / key / str(number), ignore_errors=True)

    def drop(self, key: str) -> None:
        """The step has ended, or nobody goes on with it."""
        shutil.rmtree(self.root / key, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what nobody went on with."""
        for key in self.steps():
            with contextlib.suppress(OSError):
                if time.time() - (self.root / key).lstat().st_mtime > _UNFINISHED_SECONDS:
                    self.drop(key)

    def _numbers(self, key: str) -> list[int]:
        return sorted(int(path.name) for path in (self.root / key).glob("*") if path.name.isdecimal())


class Lease:
    """A run's hold on the store: its scratch folders, and the entries that must not go while it works."""

    def __init__(self, store: Store) -> None:
        limit_bytes()  # what is wrong about it is said before any work
        self.store = store
        self._noted: set[str] = set()
        self._made = False
        self._numbers = itertools.count()
        self._folder: Scratch | None = None
        try:
            for folder in (store.root, store.runs, store.locks):
                folder.mkdir(parents=True, exist_ok=True)
            store.sweep()
            self._folder = Scratch(store.runs, _RUN)
        except OSError as error:
            self._refused = error  # what is there can be used all the same

    @property
    def root(self) -> Path:
        """Where the entries lie."""
        return self.store.root

    @property
    def unfinished(self) -> Unfinished:
        """What steps left that did not end."""
        return self.store.unfinished

    def make(self, material: Json, produce: Callable[[Path], Json]) -> Entry[Json]:
        """Return the entry for ``material``, calling ``produce(files_folder) -> value`` where there is none.

        Raises:
            UsageError: the store's folder is not writable or full; what ``produce`` raises passes through and
                leaves nothing behind.
        """
        key = sha256_json(material)
        if found := self._take(key):
            return found
        with contextlib.ExitStack() as stack:
            with _writable(self.store.root):
                if self._folder is None:
                    raise self._refused
                stack.enter_context(claim(self.store.locks / key))
            return self._take(key) or self._produce(self._folder.path, key, material, produce)

    def _take(self, key: str) -> Entry[Json] | None:
        if not os.path.lexists(self.store.root / key):
            return None
        with _writable(self.store.root), self.store.guard(fcntl.LOCK_SH):
            self._note(key)
        if found := self.store.find(key):
            with contextlib.suppress(OSError):
                os.utime(found.folder)  # when it was last used
        return found

    def _note(self, key: str) -> None:
        if self._folder is not None and key not in self._noted:
            with (self._folder.path / _USES).open("a") as stream:
                stream.write(f"{key}\n")
            self._noted.add(key)

    def _produce(self, around: Path, key: str, material: Json, produce: Callable[[Path], Json]) -> Entry[Json]:
        folder = around / f"make-{next(self._numbers)}"
        try:
            with _writable(self.store.root):
                (folder / _FILES).mkdir(parents=True)
            value = produce(folder / _FILES)
            _remove_empty_folders(folder / _FILES)
            found = listing.look(folder / _FILES)
            if found.faults:
                name, what = next(iter(found.faults.items()))
                raise FailedError(f"{material.get('step')} left {name}, which {what}")
            document = _Recorded(key=key, material=material, value=value, files=found.files, made=time.time())
            with _writable(self.store.root):
                text = json.dumps({**dict(document), "files": {k: asdict(v) for k, v in found.files.items()}}, indent=1)
                (folder / _ENTRY).write_text(text, "utf-8")
                (folder / _SEAL).write_text(_seal(text.encode()), "utf-8")
                self._publish(folder, key, around)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Entry(key, value, self.store.root / key, reused=False)

    def _publish(self, folder: Path, key: str, around: Path) -> None:
        """Give a whole entry its name; what had it and was not whole goes."""
        place = self.store.root / key
        flush_folder(folder)
        with self.store.guard(fcntl.LOCK_SH):
            self._note(key)
            if os.path.lexists(place):
                place.rename(around / f"old-{next(self._numbers)}")
            folder.rename(place)  # the key is claimed: nobody else publishes it
        flush(self.store.root)
        self._made = True

    def close(self, *, evict: bool = True) -> None:
        """Let the entries go; where some were made, keep to the limit."""
        if self._folder is not None:
            self._folder.close()
        if self._made and evict:
            with contextlib.suppress(UsageError, OSError):  # the run has its result; the next one tries again
                self.store.evict()
        self._made = False

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(evict=kind is None)


def _seal(text: bytes) -> str:
    return f"{hashlib.sha256(text).hexdigest()}  {_ENTRY}\n"


def _remove_empty_folders(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()


@contextlib.contextmanager
def _writable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"the store {root} cannot be written: {error.strerror or error}",
            hint="Free space there, or point EDGEKIT_HOME at a folder that can be written.",
        ) from error
