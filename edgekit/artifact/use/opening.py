"""A model file or an artifact, opened: what is inside, and one run of it, in a child that can do nothing else."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit import schemes, toolchains
from edgekit.artifact import contents
from edgekit.artifact import folder as artifact
from edgekit.errors import EdgekitError, UsageError
from edgekit.jobs import wire
from edgekit.jobs.confine import untrusted
from edgekit.jobs.workers import Limits, Workers, reading
from edgekit.proof import once
from edgekit.result import Inspected
from edgekit.scheme import Precision
from edgekit.sources import source as sources
from edgekit.steps import audit


def inspect(path: Path, toolchain: str | None = None, entry: str | None = None) -> dict[str, Any]:
    """Audit a model file or one entry of it, or the parts of an artifact, in a child process.

    Returns:
        ``file``, ``toolchain``, the audit and the fields of ``edgekit.steps.audit.Beyond`` and ``Delegated``; of an
        artifact of several parts ``toolchain`` and the same per part.
    """
    if (path / contents.MANIFEST).is_file():
        result = artifact.read(path)
        if entry is not None:
            raise UsageError(f"{path} is an artifact, whose parts are named", hint="Give one of its files.")
        found = {name: _audited(path / part.file, result.toolchain, part.entry) for name, part in result.parts.items()}
        if not found:
            raise UsageError(f"{path} holds no model file", hint=f"{contents.MANIFEST} says what it is.")
        return {"toolchain": result.toolchain, "parts": found} if len(found) > 1 else next(iter(found.values()))
    return _audited(path, toolchain, entry)


def _audited(path: Path, toolchain: str | None, entry: str | None) -> dict[str, Any]:
    if not path.exists():
        raise UsageError(f"no such file: {path}", hint="Give an artifact's folder or a model file.")
    name = toolchain or toolchains.for_file(path)
    _check_kind(path, name)
    with Workers() as workers:
        found = audited(path, name, entry, workers=workers)
        request = audit.Request(name, path.resolve(), entry)
        with tempfile.TemporaryDirectory() as folder, untrusted.blame(str(path)):
            more = workers.ask("runtime", audit.beyond, Path(folder), request, confined=reading(path)).value
            runs = audit.Delegated(None)
            with contextlib.suppress(EdgekitError):  # the runtime may be missing, or not open what can be read
                runs = workers.ask("runtime", audit.delegated, Path(folder), request, confined=reading(path)).value
    named = {} if entry is None else {"entry": entry}
    return {"file": str(path), "toolchain": name, **named, **wire.plain(found), **wire.plain(more), **wire.plain(runs)}


def _check_kind(path: Path, toolchain: str) -> None:
    """Say of a folder that it is one, where files of the toolchain are none."""
    if path.is_dir() and not getattr(toolchains.facts(toolchain), "FOLDERS", False):
        raise UsageError(f"{path} is a folder without {contents.MANIFEST}", hint="Give an artifact, or a file in it.")


def audited(path: Path, toolchain: str, entry: str | None = None, *, workers: Workers) -> Inspected:
    """What is inside a model file, read in a child that can do nothing else."""
    request = audit.Request(toolchain, path.resolve(), entry)
    with tempfile.TemporaryDirectory() as folder, untrusted.blame(str(path)):
        return workers.ask("runtime", audit.run, Path(folder), request, confined=reading(path)).value


def run_file(
    model: Path,
    inputs: Path | None = None,
    outputs: Path | None = None,
    *,
    toolchain: str | None = None,
    entry: str | None = None,
    shapes: Sequence[str] = (),
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Execute a model file, or an artifact of one part, in its runtime, in a child process.

    Args:
        model: the file, or the artifact's folder.
        inputs: npz file of arrays named as the inputs, or npy file of the only one, in the shapes of one sample or
            with the sample as first axis; None draws numbers from a seed.
        outputs: npz file to write, arrays named as the outputs.
        toolchain: whose file it is, where its ending does not tell.
        entry: one of several signatures, methods or functions of the file.
        shapes: ``NAME=1x3x224x224``, where the file leaves a shape open.
        limits: of time and memory.

    Returns:
        ``file``, ``toolchain`` and the fields of ``edgekit.proof.once.Ran``, its ``notes`` among them.

    Raises:
        EdgekitError: the request is wrong, the file is damaged, or its runtime cannot run it here.
    """
    file, name, entry, precision = _one_file(model, toolchain, entry)
    for path in (file, *([inputs] if inputs else [])):
        if not path.exists():
            raise UsageError(
                f"no such file or folder: {path}", hint="Give a model file or an artifact, and an npz file."
            )
    if outputs is not None and not outputs.absolute().parent.is_dir():
        raise UsageError(f"--output {outputs}: there is no folder {outputs.absolute().parent}", hint="Make it first.")
    _check_kind(file, name)
    given = {spec.name: spec.shape for spec in sources.parse_inputs(shapes, "--shape")}
    with Workers(limits) as workers, tempfile.TemporaryDirectory() as folder:
        request = once.Request(name, file.resolve(), inputs.resolve() if inputs else None, entry, precision, given)
        confined = reading(file, *([inputs] if inputs else []))
        with untrusted.blame(f"{model} or {inputs}" if inputs else str(model)):
            found = workers.ask("runtime", once.run, Path(folder), request, confined=confined).value
        if outputs is not None:
            try:
                shutil.copyfile(Path(folder) / once.OUTPUTS, outputs)
            except OSError as error:
                raise UsageError(f"{outputs} cannot be written: {error.strerror or error}") from error
    return {"file": str(file), "toolchain": name, **asdict(found), "notes": list(found.notes)}


def _one_file(model: Path, toolchain: str | None, entry: str | None) -> tuple[Path, str, str | None, Precision]:
    """The file that a path names, its toolchain, its entry, and the precision that it claims.

    Of others' files nobody knows the last: sessions look as closely as at integers.
    """
    if not (model / contents.MANIFEST).is_file():
        return model, toolchain or toolchains.for_file(model), entry, "int8"
    result = artifact.read(model)
    if len(result.parts) != 1:
        files = ", ".join(part.file for part in result.parts.values()) or "none"
        raise UsageError(f"{model} has {len(result.parts)} parts", hint=f"Give one of its files: {files}.")
    [part] = result.parts.values()
    return model / part.file, result.toolchain, entry or part.entry, schemes.find(result.precision).name
