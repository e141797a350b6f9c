"""The content-addressed store: results of steps, kept under the SHA-256 of everything that went in.

An entry is a folder ``<home>/store/<key>/`` with ``entry.json`` (what it was made from, the value, hashes of its
files) and ``files/``. It appears complete or not at all: written in a folder beside it, flushed, renamed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

from edgekit.errors import DamagedFileError, UsageError
from edgekit.jobs.scratch import flush_folder

Json = Any  # a JSON document: there is no recursive type for it that mypy and readers both like


def home() -> Path:
    """``EDGEKIT_HOME``, or the platform's cache folder."""
    given = os.environ.get("EDGEKIT_HOME")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("edgekit"))


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
class Entry:
    """A finished step: its key, its JSON value, its files, and whether it was found or made."""

    key: str
    value: Json
    folder: Path
    reused: bool

    def file(self, name: str) -> Path:
        """Path of one of its files."""
        return self.folder / "files" / name


class Store:
    """Entries below one folder; safe for concurrent processes."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or home()) / "store"

    def find(self, key: str) -> Entry | None:
        """Return the entry with every file re-hashed, or None; an altered entry is removed, to be made anew."""
        folder = self.root / key
        if not (folder / "entry.json").is_file():
            return None
        try:
            value = self._verified(key)["value"]
        except (DamagedFileError, json.JSONDecodeError, UnicodeDecodeError, KeyError):
            shutil.rmtree(folder, ignore_errors=True)
            return None
        return Entry(key, value, folder, reused=True)

    def make(self, material: Json, produce: Callable[[Path], Json]) -> Entry:
        """Return the entry for ``material``, calling ``produce(files_folder) -> value`` where there is none.

        Raises:
            UsageError: the store's folder is not writable or full; what ``produce`` raises passes through and
                leaves nothing behind.
        """
        key = sha256_json(material)
        if found := self.find(key):
            return found
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            locks = self.root.parent / "locks"
            locks.mkdir(exist_ok=True)
            with FileLock(locks / f"{key}.lock"):
                if found := self.find(key):
                    return found
                return self._produce(key, material, produce)
        except OSError as error:
            raise UsageError(
                f"the store {self.root} cannot be written: {error.strerror or error}",
                hint="Free space there, or point EDGEKIT_HOME at a folder that can be written.",
            ) from error

    def _produce(self, key: str, material: Json, produce: Callable[[Path], Json]) -> Entry:
        with self.scratch() as scratch:
            (scratch / "files").mkdir()
            value = produce(scratch / "files")
            files = {
                str(p.relative_to(scratch / "files")): {"sha256": sha256_file(p), "bytes": p.stat().st_size}
                for p in sorted((scratch / "files").rglob("*"))
                if p.is_file()
            }
            entry = {"key": key, "material": material, "value": value, "files": files, "made": time.time()}
            (scratch / "entry.json").write_bytes(json.dumps(entry, indent=1).encode())
            flush_folder(scratch)
            scratch.rename(self.root / key)  # the lock of the key is held: nobody else publishes it
        return Entry(key, value, self.root / key, reused=False)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder beside the entries, gone afterwards unless it was renamed."""
        self.root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="tmp-", dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keys(self) -> list[str]:
        """Keys of all entries, sorted."""
        return sorted(p.parent.name for p in self.root.glob("*/entry.json") if not p.parent.name.startswith("tmp-"))

    def rows(self) -> list[Json]:
        """One row per entry: key, step, bytes, made (seconds since the epoch)."""
        rows = []
        for key in self.keys():
            entry = json.loads((self.root / key / "entry.json").read_text())
            size = sum(known["bytes"] for known in entry["files"].values())
            rows.append({"key": key, "step": entry["material"].get("step"), "bytes": size, "made": entry["made"]})
        return rows

    def verify(self) -> list[str]:
        """Re-hash every file; return one sentence per damaged entry (empty: all whole)."""
        damaged = []
        for key in self.keys():
            try:
                self._verified(key)
            except (DamagedFileError, json.JSONDecodeError, KeyError) as error:
                damaged.append(f"{key}: {error}")
        return damaged

    def _verified(self, key: str) -> Json:
        entry = json.loads((self.root / key / "entry.json").read_text())
        if sha256_json(entry["material"]) != key:
            raise DamagedFileError("entry.json does not match its key")
        for name, known in entry["files"].items():
            path = self.root / key / "files" / name
            if not path.is_file() or sha256_file(path) != known["sha256"]:
                raise DamagedFileError(f"{name} is missing or altered")
        return entry

    def clear(self) -> int:
        """Remove all entries and left-over scratch folders; return how many entries there were."""
        count = len(self.keys())
        if self.root.is_dir():
            for path in self.root.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return count
