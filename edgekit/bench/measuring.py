"""Measuring files on this machine: each alone in a fresh process, then those of one run in turns.

What a file is (an artifact, or a model file of anybody's) is found here; what is asked of the device stands in
``proof/speed/step.py``.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from edgekit import api, schemes, toolchains
from edgekit.artifact import contents, derived
from edgekit.artifact import folder as artifacts
from edgekit.bench import square, stamp
from edgekit.bench.of_result import Told, cell_of, row_of
from edgekit.bench.row import Cell, Made, Row
from edgekit.devices.device import HERE, Device
from edgekit.errors import (
    DamagedFileError,
    EdgekitError,
    NotRunError,
    UnsupportedError,
    UsageError,
)
from edgekit.jobs import interpreters
from edgekit.jobs.confine import untrusted
from edgekit.jobs.host import host
from edgekit.jobs.store import home, sha256_file, sha256_json
from edgekit.jobs.workers import Limits, Workers, reading
from edgekit.proof.intervals import MIN_BLOCKS, ratio_interval
from edgekit.proof.speed import step
from edgekit.proof.speed.measurement import Engine, Measured
from edgekit.proof.speed.opened import Contender
from edgekit.result import Flag, Proof, Status
from edgekit.sources.source import parse_inputs
from edgekit.toolchains import Options, Unit


@dataclass(frozen=True)
class Asked:
    """How files are measured.

    Attributes:
        unit: of this machine.
        threads: of the runtime.
        seconds: that the steady state of each is timed for.
        cpus: cores that the process is held to; none where it is not.
        inputs: npz file of samples by input name, for files without recorded ones; ``shapes`` are of inputs whose
            shape a file leaves open, as ``--input`` says them.
        engine: what drives the inferences.
        profile: whether operators are timed, too.
        yardstick: whether the product of two square matrices is.
        sustain_s: how long each then runs on.
        seed: of drawn inputs and of the order.
        timeout_s: that opening and first running a file may take, beside what it is timed for.
    """

    unit: Unit = "cpu"
    threads: int = 1
    seconds: float = 2.0
    cpus: tuple[int, ...] = ()
    inputs: Path | None = None
    shapes: tuple[str, ...] = ()
    engine: Engine = "edgekit"
    profile: bool = True
    yardstick: bool = True
    sustain_s: float = 0.0
    seed: int = 0
    timeout_s: float = 1800.0

    @property
    def limits(self) -> Limits:
        """Of one request to a child."""
        return Limits(self.timeout_s, Workers.default_memory_bytes())

    def check(self) -> None:
        """Raise ``UsageError`` for what cannot be measured so."""
        bounds = {"--threads": (self.threads, 1), "--seconds": (self.seconds, 0.05), "--timeout": (self.timeout_s, 1)}
        for option, (value, lowest) in bounds.items():
            if value < lowest:
                raise UsageError(f"{option} {value:g} is below {lowest:g}")
            if not math.isfinite(value):
                raise UsageError(f"{option} {value:g} is no duration", hint=f"{option} 2")
        if self.inputs is not None and not self.inputs.is_file():
            raise UsageError(f"no such file: {self.inputs}", hint="--inputs takes an npz file, an array per input.")
        parse_inputs(self.shapes)


@dataclass(frozen=True)
class Subject:
    """A file or an artifact that can be measured.

    Attributes:
        path: as it was given.
        row: what is known of it without running it.
        contender: what a device is asked to run.
        target: whose routes made it; None of a plain file.
        ops_total: operators in the file.
    """

    path: Path
    row: Row
    contender: Contender
    target: str | None = None
    ops_total: int | None = None


def find(path: Path, asked: Asked, workers: Workers) -> Subject:
    """What lies at a path.

    Raises:
        UsageError: nothing that is known.
        UnsafeInputError: an artifact that is not as it was sealed.
    """
    if (path / contents.MANIFEST).is_file():
        return _artifact(path, asked)
    if not path.exists():
        raise UsageError(f"no such file: {path}", hint="Give an artifact's folder or a model file.")
    if path.is_dir() and path.suffix != ".mlpackage":
        raise UsageError(contents.no_artifact(path), hint="Give the folder that `edgekit convert` wrote.")
    return _file(path, asked, workers)


def _artifact(folder: Path, asked: Asked) -> Subject:
    contents.check(folder)
    if derived.is_derived(folder):
        raise NotRunError(
            f"{folder} is an engine of {derived.read(folder).device}", hint="Benchmark it where that device is."
        )
    sealed = artifacts.read(folder)
    try:
        told = Told.model_validate_json((folder / contents.MANIFEST).read_bytes())
    except ValidationError as error:
        raise DamagedFileError(f"{folder / contents.MANIFEST}: {error.errors()[0]['msg']}") from error
    lies = folder.resolve()
    recorded = {name: lies / artifacts.golden_of(part) for name, part in sealed.parts.items()}
    contender = Contender(
        told.toolchain,
        {name: lies / part.file for name, part in sealed.parts.items()},
        Options(schemes.find(told.precision), asked.threads, asked.unit),
        {name: part.inputs for name, part in told.parts.items()},
        {name: part.entry for name, part in sealed.parts.items() if part.entry is not None},
        {name: file for name, file in recorded.items() if file.is_file()},
        steps=len(told.parts) > 1 or any(told.state.values()),
        macs=told.audit.macs_total if told.audit else None,
    )
    row = row_of(
        told,
        code=stamp.code(),
        at=stamp.now(),
        host=host(),
        cell=cell_of(told).model_copy(update={"device": asked.unit}),
        fingerprint=stamp.fingerprint(),
        path=str(folder),
    )
    return Subject(folder, row, contender, told.target, told.audit.ops_total if told.audit else None)


def _file(path: Path, asked: Asked, workers: Workers) -> Subject:
    """A model file of anybody's: what goes in is read from the file, in a child."""
    toolchain = toolchains.for_file(path)
    inspected = api.audited(path, toolchain, workers=workers)
    given = {spec.name: spec for spec in parse_inputs(asked.shapes)}
    if unknown := sorted(given.keys() - {tensor.name for tensor in inspected.inputs}):
        raise UsageError(
            f"{path.name} has no input {unknown[0]!r}", hint=f"It has {', '.join(t.name for t in inspected.inputs)}."
        )
    inputs = tuple(
        tensor.model_copy(update={"shape": given[tensor.name].shape}) if tensor.name in given else tensor
        for tensor in inspected.inputs
    )
    contender = Contender(
        toolchain,
        {"model": path.resolve()},
        # Sessions look closer at what may be quantized; a float file is told from it by what they find.
        Options(schemes.find("int8"), asked.threads, asked.unit),
        {"model": inputs},
        given=asked.inputs.resolve() if asked.inputs else None,
        macs=inspected.macs_total,
    )
    files = [path, *(path.parent / name for name in inspected.beside)]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    sums = {p.relative_to(path.parent).as_posix(): sha256_file(p) for p in files}
    made = Made(
        sha256=sha256_json(sums) if len(sums) > 1 else next(iter(sums.values()), None),
        path=str(path),
        toolchain=toolchain,
        format=toolchain,
        size_bytes=sum(p.stat().st_size for p in files),
        macs=inspected.macs_total,
        macs_quantized_share=inspected.macs_quantized_share,
    )
    row = _row(Cell(model=path.name, device=asked.unit), made, "PASS", Proof(kind="none"))
    return Subject(path, row, contender, ops_total=inspected.ops_total)


def _row(cell: Cell, made: Made, status: Status, proof: Proof) -> Row:
    return Row(
        cell=cell,
        status=status,
        proof=proof,
        made=made,
        code=stamp.code(),
        host=host(),
        fingerprint=stamp.fingerprint(),
        processor=host().processor,
        at=stamp.now(),
    )


def measure(
    paths: Sequence[Path],
    asked: Asked | None = None,
    *,
    device: Device = HERE,
    progress: Callable[[str, str], None] = lambda event, label: None,
    keep: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Measure files: each alone, then all that can share a process in turns.

    Args:
        paths: artifacts' folders, or model files.
        asked: how.
        device: where.
        progress: called with (``start`` | ``done``, what) as it goes on.
        keep: called with each row once all were measured, or with those that were when something ended it.

    Returns:
        A row for each path, in order. A file that cannot be measured has one with the status and the reason.

    Raises:
        EdgekitError: the request is wrong, a file is none that is known or is not what it was; nothing was measured.
            Of several files, what is wrong with one that was being measured stands in its row.
    """
    asked = asked or Asked()
    asked.check()
    with Workers(asked.limits) as workers:
        subjects = [find(path, asked, workers) for path in paths]
    if asked.inputs is not None and any(len(subject.contender.files) > 1 for subject in subjects):
        raise UsageError("--inputs is for files of one model", hint="Artifacts of several parts have recorded samples.")
    rows: list[Row] = []
    try:
        rows.extend(alone(subject, asked, device, progress, raises=len(subjects) == 1) for subject in subjects)
        whole = [index for index, row in enumerate(rows) if row.measured is not None]
        if len(whole) > 1 and asked.engine == "edgekit":
            found = in_turns([subjects[i] for i in whole], asked, device, progress) or ()
            for index, measured in zip(whole, found, strict=False):
                rows[index] = _joined(rows[index], measured)
    finally:  # of what is interrupted, those that are complete
        for row in rows:
            keep(row)
    return rows


def alone(
    subject: Subject,
    asked: Asked,
    device: Device,
    progress: Callable[[str, str], None],
    *,
    raises: bool = False,
) -> Row:
    """Measure one in a fresh process; ``raises`` says whether a wrong request is an error, or the row's reason."""
    label = f"measure {subject.path}"
    request = step.Request(
        {str(subject.path): subject.contender},
        seconds=asked.seconds,
        seed=asked.seed,
        cpus=asked.cpus,
        yardstick=_yardstick(subject, asked, progress) if asked.yardstick else None,
        profile=asked.profile,
        writes=subject.row.accuracy is not None and subject.row.accuracy.metric == "perplexity",
        sustain_s=asked.sustain_s,
        engine=asked.engine,
    )
    progress("start", label)
    try:
        [found] = _ask(request, [subject], device, asked.limits)
    except EdgekitError as error:
        if raises and isinstance(error, UsageError):
            raise
        status = _STATUS.get(type(error), "FAILED")
        return subject.row.model_copy(update={"status": status, "reason": str(error).partition("\n")[0]})
    finally:
        progress("done", label)
    return _with(subject.row, found.model_copy(update={"ops_total": subject.ops_total}))


_STATUS: Mapping[type[EdgekitError], Status] = {NotRunError: "NOT_RUN", UnsupportedError: "UNSUPPORTED"}


def in_turns(
    subjects: Sequence[Subject], asked: Asked, device: Device, progress: Callable[[str, str], None]
) -> list[Measured] | None:
    """Measure several in one process, in turns; None where they cannot share one."""
    if len({interpreters.for_job("runtime", subject.contender).python for subject in subjects}) > 1:
        progress("note", "not in turns: the runtimes have environments of their own")
        return None
    label = f"measure {len(subjects)} in turns"
    request = step.Request(
        {f"{number} {subject.path}": subject.contender for number, subject in enumerate(subjects)},
        seconds=asked.seconds,
        seed=asked.seed,
        cpus=asked.cpus,
    )
    progress("start", label)
    try:
        return _ask(request, subjects, device, asked.limits)
    except EdgekitError as error:
        progress("note", f"not in turns: {str(error).partition(chr(10))[0]}")
        return None
    finally:
        progress("done", label)


def _ask(request: step.Request, subjects: Sequence[Subject], device: Device, limits: Limits) -> list[Measured]:
    """Have a device measure, in a fresh process that can read what it measures and nothing else."""
    if device.measure is None:
        raise NotRunError(f"{device.name} measures nothing", hint="Take another device.")
    files = [Path(file) for contender in _contenders(request) for file in _files(contender)]
    blamed = untrusted.blame(", ".join(str(subject.path) for subject in subjects))
    timed = request.seconds * len(request.contenders) + request.sustain_s  # asked for, so that no limit ends it
    limits = replace(limits, seconds=limits.seconds + timed)
    with Workers(limits) as workers, tempfile.TemporaryDirectory() as scratch, blamed:
        asking = reading(*files)
        answer = workers.ask("runtime", device.measure, Path(scratch), request, confined=asking, limits=limits)
    return list(answer.value.measured.values())


def _contenders(request: step.Request) -> Iterator[Contender]:
    yield from request.contenders.values()
    if request.yardstick is not None:
        yield request.yardstick


def _files(contender: Contender) -> Iterator[Path]:
    yield from map(Path, (*contender.files.values(), *contender.recorded.values()))
    if contender.given is not None:
        yield Path(contender.given)


def _with(row: Row, found: Measured) -> Row:
    """A row with what was measured."""
    flags: tuple[Flag, ...] = tuple(flag for flag in row.flags if flag not in ("NOISY", "REUSED"))
    if found.noisy:
        flags = (*flags, "NOISY")
    made = row.made if row.made.precision else row.made.model_copy(update={"precision": found.precision})
    proof = row.proof if row.proof.kind != "none" else Proof(kind="runtime", by=found.by)
    return row.model_copy(update={"measured": found, "flags": flags, "made": made, "proof": proof, "at": stamp.now()})


def _joined(row: Row, found: Measured) -> Row:
    """A row whose steady state is that of the run in turns; what is told of a fresh process stays."""
    assert row.measured is not None
    steady = {name: getattr(found, name) for name in ("wall", "cpu", "blocks", "conditions")}
    return _with(row, row.measured.model_copy(update=steady))


def _yardstick(subject: Subject, asked: Asked, progress: Callable[[str, str], None]) -> Contender | None:
    """The product of two square matrices, by the same target; None where that has no such file.

    A conversion that was made before comes from the store.
    """
    if subject.target is None or subject.row.proof.kind != "runtime":
        return None
    source, folder = Path(square.__file__), home() / "yardsticks" / subject.target
    label = f"yardstick of {subject.target}"
    progress("start", label)
    try:
        made = api.convert(
            f"{source}:matmul",
            subject.target,
            calibrate=f"{source}:samples",
            output=folder,
            latency=False,
            trust=True,
        )
        if made.status not in ("PASS", "UNDECIDED"):
            return None
        found = _artifact(folder, replace(asked, shapes=(), inputs=None))
    except EdgekitError:
        return None
    finally:
        progress("done", label)
    return replace(found.contender, macs=square.MACS)


def units() -> list[dict[str, str]]:
    """Of each runtime what it finds on this machine; why not, where it is not here."""
    found = []
    with Workers() as workers, tempfile.TemporaryDirectory() as scratch:
        for name in toolchains.names():
            try:
                asked = workers.ask("runtime", step.units, Path(scratch), step.UnitsRequest(name)).value.found
                found.append({"toolchain": name, "units": " ".join(asked), "problem": ""})
            except EdgekitError as error:
                found.append({"toolchain": name, "units": "", "problem": str(error).partition("\n")[0]})
    return found


@dataclass(frozen=True)
class Ratio:
    """CPU time of a file as a ratio to the first one's, of rounds that ran side by side.

    Attributes:
        of: the file. ``to`` is the first.
        ci95: interval of the median ratio.
    """

    of: str
    to: str
    ratio: float
    ci95: tuple[float, float]


def ratios(rows: Sequence[Row]) -> list[Ratio]:
    """Of rows that were measured in turns, each against the first; NOISY ones are compared with none."""
    sound = [row for row in rows if row.measured is not None and not row.measured.noisy]
    found = []
    for row in sound[1:] if sound and sound[0] is rows[0] else ():
        assert row.measured is not None and rows[0].measured is not None
        own, first = row.measured.blocks.cpu_ms, rows[0].measured.blocks.cpu_ms
        count = min(len(own), len(first))
        if count >= MIN_BLOCKS:
            ratio, low, high = ratio_interval(own[:count], first[:count])
            found.append(Ratio(str(row.made.path), str(rows[0].made.path), ratio, (low, high)))
    return found
