"""Artifacts: folders that carry a model file together with the evidence for it.

``manifest.json`` holds the whole result and the hash of every other file; ``manifest.sha256`` holds the manifest's
own, in the format of ``sha256sum``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self, TypeVar

from pydantic import BaseModel, ValidationError

from edgekit.errors import DamagedFileError, EdgekitError, UsageError
from edgekit.jobs.store import flush_folder, sha256_file
from edgekit.jobs.workers import Workers
from edgekit.result import File, Part, Result

MANIFEST = "manifest.json"
SEAL = "manifest.sha256"
GOLDEN = "golden.npz"

#: How close golden outputs must come out again. Another processor may round differently (1 LSB of int8 is about
#: 40 dB); a wrong file is far below.
REPLAY_DB = 30.0
REPLAY_FP32_DB = 90.0


def list_files(paths: Mapping[str, Path]) -> tuple[File, ...]:
    """Each file with its hash and size, under its name in the artifact."""
    return tuple(File(path=name, sha256=sha256_file(path), bytes=path.stat().st_size) for name, path in paths.items())


def _sealed_files(folder: Path) -> tuple[File, ...]:
    """Every file below a folder except the manifest and its seal, sorted."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (MANIFEST, SEAL))
    return list_files({path.relative_to(folder).as_posix(): path for path in paths})


def golden_of(part: Part) -> str:
    """Where the golden data of a part lie: beside its file."""
    return (PurePosixPath(part.file).parent / GOLDEN).as_posix()


class Manifest(Protocol):
    """What a manifest holds at least: the files, and (only in memory) where it lies."""

    @property
    def files(self) -> tuple[File, ...]:
        """Every other file of the folder."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other fields."""
        ...


M = TypeVar("M", bound=Manifest)


class _Listing(BaseModel):
    """The part of a manifest that every kind has."""

    files: tuple[File, ...]


def write(destination: Path, files: Mapping[str, Path], texts: Mapping[str, str], result: M) -> M:
    """Publish an artifact under its final name, complete or not at all; an older one of that name is replaced.

    Args:
        destination: the artifact's folder.
        files: name inside the artifact -> file to copy.
        texts: name inside the artifact -> text.
        result: the result; its ``files`` and ``artifact`` are filled in here.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    except OSError as error:
        raise _unwritable(destination, error) from error
    try:
        for name, path in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, scratch / name)
        for name, text in texts.items():
            (scratch / name).write_text(text, "utf-8")
        sealed = result.model_copy(update={"files": _sealed_files(scratch), "artifact": str(destination)})
        _seal(scratch, sealed)
        flush_folder(scratch)
        scratch.chmod(0o755)
        _replace(scratch, destination)
    except OSError as error:
        raise _unwritable(destination, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return sealed


def _seal(folder: Path, result: Manifest) -> None:
    document = result.to_json() | {"artifact": None}  # a folder may be moved: its manifest does not say where it lies
    text = json.dumps(document, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", "utf-8")
    (folder / SEAL).write_text(f"{sha256_file(folder / MANIFEST)}  {MANIFEST}\n", "utf-8")


def _replace(scratch: Path, destination: Path) -> None:
    """Rename ``scratch`` to ``destination``; an old artifact there goes, anything else is left alone."""
    if not destination.exists():
        scratch.rename(destination)
        return
    if destination.is_dir() and not any(destination.iterdir()):
        destination.rmdir()
        scratch.rename(destination)
        return
    if not (destination / MANIFEST).is_file():
        raise UsageError(
            f"{destination} exists and is not an edgekit artifact",
            hint="Give another folder with -o, or remove it yourself.",
        )
    old = destination.with_name(f".{destination.name}-old-{os.getpid()}")
    destination.rename(old)
    scratch.rename(destination)
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(destination: Path, error: OSError) -> EdgekitError:
    return UsageError(
        f"the artifact {destination} cannot be written: {error.strerror or error}",
        hint="Free space there, or give another folder with -o.",
    )


def read(folder: Path) -> Result:
    """Read an artifact's manifest; raises ``UsageError`` where there is none, ``DamagedFileError`` where it is bad."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder} holds no {MANIFEST}", hint="Give the folder that `edgekit convert` wrote.")
    try:
        return Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DamagedFileError(f"{MANIFEST}: {error.errors()[0]['msg']}", hint="Convert the model again.") from error


def damaged_files(folder: Path) -> list[str]:
    """Names of files that are altered, missing or not listed; the manifest itself first. Empty: all whole."""
    seal = folder / SEAL
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} holds no {MANIFEST}", hint="Give the folder that `edgekit convert` wrote.")
    if not seal.is_file():
        return [SEAL]
    if seal.read_bytes() != f"{sha256_file(folder / MANIFEST)}  {MANIFEST}\n".encode():
        return [f"{MANIFEST} (or {SEAL})"]
    try:
        known = {file.path: file for file in _Listing.model_validate_json((folder / MANIFEST).read_bytes()).files}
    except ValidationError:
        return [MANIFEST]
    present = {file.path: file for file in _sealed_files(folder)}
    return sorted(name for name in known.keys() | present.keys() if known.get(name) != present.get(name))


def verify(folder: Path, workers: Workers) -> dict[str, Any]:
    """Re-hash every file and run the golden inputs again.

    Returns:
        ``status`` (``PASS``, ``FAIL_PARITY``, ``FAILED``, or ``NOT_RUN`` where nothing ever executed the artifact and
        there is no golden data: see ``--allow-unproven``), ``reason``, ``damaged`` (file names), ``replay``.
    """
    if damaged := damaged_files(folder):
        reason = f"altered, missing or not listed in {MANIFEST}: {', '.join(damaged)}"
        return {"status": "FAILED", "reason": reason, "damaged": damaged, "replay": None}
    result = read(folder)
    if result.proof.kind == "none":
        reason = f"all files are as they were written; nothing has executed them: {result.reason}"
        return {"status": "NOT_RUN", "reason": reason, "damaged": [], "replay": None}
    if not result.parts or not all((folder / golden_of(part)).is_file() for part in result.parts.values()):
        return {"status": "FAILED", "reason": f"the artifact has no {GOLDEN}", "damaged": [], "replay": None}
    replays = {name: _replay(folder, result, name, workers) for name in result.parts}
    replay = min(replays.values(), key=lambda found: found["parity"]["sqnr_db"])
    same = replay["parity"]["sqnr_db"] >= (REPLAY_FP32_DB if result.precision == "fp32" else REPLAY_DB)
    reason = "" if same else f"the golden data came out at {replay['parity']['sqnr_db']:.1f} dB (recorded: identical)"
    return {"status": "PASS" if same else "FAIL_PARITY", "reason": reason, "damaged": [], "replay": replay}


def _replay(folder: Path, result: Result, name: str, workers: Workers) -> dict[str, Any]:
    """Run one part's golden data again, see ``steps.replay``."""
    part, state = result.parts[name], result.state.get(name, ())
    arguments = {
        "folder": str(folder),
        "toolchain_name": result.toolchain,
        "file": str(folder / part.file),
        "precision": result.precision,
        "golden_file": str(folder / golden_of(part)),
        "steps": len(result.parts) > 1 or bool(state),
        "state": [one.model_dump() for one in state],
    }
    return {"part": name, **workers.call("runtime", "edgekit.steps.golden:replay", arguments).value}
