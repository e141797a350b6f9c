"""Artifacts: folders that carry a model file together with the evidence for it.

``manifest.json`` holds the whole result and the hash of every other file; ``contents.py`` says what a whole folder is,
``publishing.py`` how it appears.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit import schemes, toolchains
from edgekit.artifact import contents, publishing
from edgekit.artifact.contents import MANIFEST, SEAL
from edgekit.errors import DamagedFileError, UsageError, unknown_name
from edgekit.jobs import wire
from edgekit.jobs.confine import untrusted
from edgekit.jobs.workers import Workers, reading
from edgekit.result import File, Proof, StateFacts, Status
from edgekit.schemes import FP32
from edgekit.signature import State
from edgekit.steps import golden

GOLDEN = "golden.npz"

#: How close golden outputs must come out again. Another processor may round differently (1 LSB of int8 is about
#: 40 dB); a wrong file is far below.
REPLAY_DB = 30.0
REPLAY_FP32_DB = 90.0

#: What ``verify`` adds to every answer: the hashes say nothing about who wrote them.
UNSIGNED = (
    "the seal is not signed: it proves that this is a whole copy of what was written, not who wrote it; compare the "
    f"hash in {SEAL} with one from a source that you trust"
)
#: What ``verify`` says of an artifact that is whole and was never good: a rejected one, one that nothing executed.
WHOLE_BUT = "all files are as they were written; it did not pass: {}"


class _HasFile(Protocol):
    @property
    def file(self) -> str: ...
    @property
    def entry(self) -> str | None: ...


def golden_of(part: _HasFile) -> str:
    """Where the golden data of a part lie: beside its file, of an entry under its name."""
    name = GOLDEN if part.entry is None else f"golden.{part.entry}.npz"
    return (PurePosixPath(part.file).parent / name).as_posix()


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


class _Lenient(BaseModel):
    """What is read back from a manifest: fields that every release has written, whatever else stands beside them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SealedInput(_Lenient):
    """An input of a model file."""

    name: str
    shape: tuple[int, ...]


class SealedPart(_Lenient):
    """One model of an artifact: a file, or an entry of it."""

    file: str
    entry: str | None = None
    inputs: tuple[SealedInput, ...]


class SealedSource(_Lenient):
    """The model that it was made from."""

    name: str


class SealedPruning(_Lenient):
    """Weights that were left out."""

    pattern: str


class SealedStep(_Lenient):
    """A step of the recipe that made the model."""

    pruning: SealedPruning | None = None


class SealedRecipe(_Lenient):
    """The recipe that made the model."""

    steps: tuple[SealedStep, ...] = ()


class Sealed(_Lenient):
    """An artifact as its manifest describes it; see ``edgekit.result.Result`` for each meaning."""

    status: Status
    reason: str = ""
    proof: Proof
    target: str
    toolchain: str
    precision: str
    framework: str
    source: SealedSource
    parts: dict[str, SealedPart] = {}
    state: dict[str, tuple[StateFacts, ...]] = {}
    gate: dict[str, Any]
    files: tuple[File, ...]
    recipe: SealedRecipe | None = None

    @property
    def patterns(self) -> tuple[str, ...]:
        """Those of the weights that its recipe left out."""
        steps = self.recipe.steps if self.recipe else ()
        return tuple(step.pruning.pattern for step in steps if step.pruning)


def write(destination: Path, files: Mapping[str, Path], texts: Mapping[str, bytes], result: M) -> M:
    """Publish an artifact under its final name, complete or not at all; an older one of that name is replaced.

    Args:
        destination: the artifact's folder.
        files: name inside the artifact -> file to copy.
        texts: name inside the artifact -> what is written there.
        result: the result; its ``files`` and ``artifact`` are filled in here.
    """
    with publishing.writing(destination) as scratch:
        for name, path in files.items():
            publishing.copy_into(scratch, name, path)
        for name, text in texts.items():
            (scratch / name).write_bytes(text)
        sealed = result.model_copy(update={"files": contents.sealed_files(scratch), "artifact": str(destination)})
        document = sealed.to_json() | {"artifact": None}  # a folder may be moved: it does not say where it lies
        (scratch / MANIFEST).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")
        (scratch / SEAL).write_text(contents.seal_of(scratch), "utf-8")
    return sealed


def read(folder: Path) -> Sealed:
    """Read an artifact's manifest; raises ``UsageError`` where there is none, ``DamagedFileError`` where it is bad."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(contents.no_artifact(folder), hint="Give the folder that `edgekit convert` wrote.")
    try:
        found = Sealed.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DamagedFileError(f"{MANIFEST}: {where}: {first['msg']}", hint="Convert the model again.") from error
    for name, part in found.parts.items():
        own = any(file.path == part.file or file.path.startswith(f"{part.file}/") for file in found.files)
        if not own or not contents.is_inside(part.file) or not contents.is_inside(golden_of(part)):
            raise DamagedFileError(
                f"{MANIFEST}: the file of part {name}, {part.file!r}, is none of its files",
                hint="Convert the model again.",
            )
    return found


def verify(folder: Path, workers: Workers) -> dict[str, Any]:
    """Re-hash every file and run the golden inputs again.

    Returns:
        ``status``: ``FAIL_INTEGRITY`` where the folder is not what was sealed; ``FAIL_PARITY`` where the golden data
        come out differently; else the artifact's own status (``PASS``; that of a rejected one; ``NOT_RUN`` where
        nothing ever executed it). ``reason``, ``damaged`` (names in the folder), ``replay`` and ``seal``.
    """
    if faults := contents.faults(folder):
        return integrity(faults)
    try:
        sealed = read(folder)
    except DamagedFileError as error:
        return integrity({MANIFEST: f"was sealed but cannot be read: {error}"})
    if sealed.toolchain not in toolchains.names():
        raise unknown_name("toolchain", sealed.toolchain, toolchains.names())
    if not all((folder / golden_of(part)).is_file() for part in sealed.parts.values()) or not sealed.parts:
        if sealed.status == "PASS":
            return integrity({GOLDEN: "is missing, although the artifact says that it was executed"})
        return answer(sealed.status, WHOLE_BUT.format(sealed.reason))
    replays = {name: _replay(folder, sealed, name, workers) for name in sealed.parts}
    replay = min(replays.values(), key=lambda found: found["parity"]["sqnr_db"])
    if replay["parity"]["sqnr_db"] < (REPLAY_FP32_DB if sealed.precision == FP32.name else REPLAY_DB):
        reason = f"the golden data came out at {replay['parity']['sqnr_db']:.1f} dB (recorded: identical)"
        return answer("FAIL_PARITY", reason, replay)
    if sealed.status == "PASS":
        return answer("PASS", "", replay)
    return answer(sealed.status, WHOLE_BUT.format(sealed.reason), replay)


def integrity(faults: Mapping[str, str]) -> dict[str, Any]:
    """The answer of ``verify`` for a folder that is not what was sealed."""
    return {**answer("FAIL_INTEGRITY", contents.sentence(faults)), "damaged": list(faults)}


def answer(status: Status, reason: str, replay: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer of ``verify`` for a whole folder."""
    return {"status": status, "reason": reason, "damaged": [], "replay": replay, "seal": UNSIGNED}


def _replay(folder: Path, sealed: Sealed, name: str, workers: Workers) -> dict[str, Any]:
    """Run one part's golden data again, see ``steps.replay``."""
    part, state = sealed.parts[name], sealed.state.get(name, ())
    lies = folder.resolve()
    request = golden.ReplayRequest(
        toolchain=sealed.toolchain,
        file=lies / part.file,
        options=toolchains.Options(schemes.find(sealed.precision)),
        golden=lies / golden_of(part),
        steps=len(sealed.parts) > 1 or bool(state),
        state=tuple(State(**one.model_dump()) for one in state),
        shapes={tensor.name: tensor.shape for tensor in part.inputs},
        entry=part.entry,
    )
    with tempfile.TemporaryDirectory() as scratch:  # not the artifact's: what a child writes is copied into it
        confined = reading(folder / SEAL)
        with untrusted.blame(str(folder)):
            found = workers.ask("runtime", golden.replay, Path(scratch), request, confined=confined)
    return {"part": name, **wire.plain(found.value)}
