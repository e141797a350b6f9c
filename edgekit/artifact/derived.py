"""Derived artifacts: what a device's own builder makes of an artifact, on that device, and for that device only.

A TensorRT engine runs on the kind of GPU and with the version of TensorRT that it was built by ("Engine Compatibility",
NVIDIA TensorRT 11). Its manifest names the parent artifact by hash, the builder and the GPU, and everything that opens
it compares them with the machine first.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit import catalogue, schemes
from edgekit.artifact import contents, publishing
from edgekit.artifact import folder as artifact
from edgekit.errors import DamagedFileError, NotRunError, UnsupportedError, UsageError, WrongDeviceError
from edgekit.jobs import wire
from edgekit.jobs.store import sha256_file
from edgekit.jobs.workers import Workers
from edgekit.limits import Gate, with_defaults
from edgekit.proof.judge import Verdict, judge_parity
from edgekit.result import File, Flag, Proof, Status
from edgekit.result.parity import Parity
from edgekit.steps import audit
from edgekit.toolchains._shared.machine import Machine, check_machine

ENGINE = "model.engine"
TIMING_CACHE = "timing.cache"
_ENGINE_STEPS = "edgekit.toolchains.tensorrt.builder"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Requirements(_Frozen):
    """What a machine must have to be this device.

    Attributes:
        builder_min: oldest version of the builder.
        builder_below: first version that will not do.
        compute_capability_min: of the GPU, for example ``7.5``.
        compute_capability: the only ones, where not empty.
        machine: processor architecture, for example ``aarch64``.
        builds_for: compute capabilities that the builder takes ahead of time, without a GPU; empty where it needs one.
        hint: the next step where something is missing.
    """

    builder_min: str
    builder_below: str
    compute_capability_min: str | None = None
    compute_capability: tuple[str, ...] = ()
    machine: str | None = None
    builds_for: tuple[str, ...] = ()
    hint: str


class BuilderDevice(_Frozen):
    """One file of ``benchmarks/devices``."""

    name: str
    title: str
    kind: Literal["gpu"]
    toolchain: Literal["tensorrt"] = "tensorrt"
    builder: Literal["tensorrt", "tensorrt_rtx"]
    requires: Requirements


class Parent(_Frozen):
    """The artifact that an engine was built from."""

    manifest_sha256: str
    target: str
    toolchain: str
    precision: str
    source: str
    framework: str


class Derived(_Frozen):
    """The manifest of a derived artifact.

    Attributes:
        parity: the engine against the framework, on the parent's golden samples.
        parity_to_parent: against what the stand-in computed from the parent's file.
        driver: newest CUDA version that the driver serves.
        built_for: compute capabilities that it was built for ahead of time; empty where that is the GPU's own.
        sparse: whether the builder was allowed to skip weights that are zero in groups of 2:4.

    What no GPU has executed has neither GPU nor parity, and the status ``NOT_RUN``.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    kind: Literal["derived"] = "derived"
    status: Status
    flags: tuple[Flag, ...] = ()
    reason: str = ""
    proof: Proof
    artifact: str | None = None
    parent: Parent
    device: str
    builder: str
    builder_version: str
    gpu: str | None
    compute_capability: str | None
    driver: str | None
    machine: str
    built_for: tuple[str, ...] = ()
    sparse: bool = False
    samples: int
    parity: dict[str, Any] | None
    parity_to_parent: dict[str, Any] | None
    gate: dict[str, Any]
    build_seconds: float
    layers: int
    files: tuple[File, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the contract's names."""
        return self.model_dump(mode="json", by_alias=True)


class _Kind(BaseModel):
    """The one field that tells the two kinds of manifests apart."""

    kind: str = ""


def devices() -> list[str]:
    """Names of all devices, sorted."""
    return catalogue.names("benchmarks/devices")


def load_device(name: str) -> BuilderDevice:
    """Read a device by name or by path of a TOML file; raises ``UsageError`` naming the wrong key or nearest name."""
    path = catalogue.find("benchmarks/devices", name)
    try:
        return BuilderDevice.model_validate({"name": path.stem, **catalogue.read(path)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path.name}: {where}: {first['msg']}", hint="Compare with the packaged devices.") from error


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def obstacles(device: BuilderDevice, machine: Machine) -> list[str]:
    """Say why this machine cannot build for the device, one sentence each; empty where it can."""
    wanted = device.requires
    needless = bool(wanted.builds_for) and machine.builder_version is not None  # built ahead of time, without a GPU
    found = [] if needless else list(machine.reasons)
    if wanted.machine and machine.machine != wanted.machine:
        found.append(f"this machine is {machine.machine}, {device.name} is {wanted.machine}")
    version = machine.builder_version
    if version and not _number(wanted.builder_min) <= _number(version) < _number(wanted.builder_below):
        found.append(
            f"{device.builder} is {version}; {device.name} takes {wanted.builder_min} to below {wanted.builder_below}"
        )
    capability = machine.compute_capability
    if capability and wanted.compute_capability and capability not in wanted.compute_capability:
        found.append(
            f"{machine.gpu} has compute capability {capability}, {device.name} {' or '.join(wanted.compute_capability)}"
        )
    least = wanted.compute_capability_min
    if capability and least and _number(capability) < _number(least):
        found.append(f"{machine.gpu} has compute capability {capability}, at least {least} is needed")
    return found


def is_derived(folder: Path) -> bool:
    """Whether a folder holds a derived artifact."""
    path = folder / contents.MANIFEST
    try:
        return path.is_file() and _Kind.model_validate_json(path.read_bytes()).kind == "derived"
    except ValidationError:
        return False


def read(folder: Path) -> Derived:
    """Read the manifest of a derived artifact; raises ``DamagedFileError`` where it is not one."""
    try:
        return Derived.model_validate_json((folder / contents.MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise DamagedFileError(
            f"{folder} holds no manifest of a derived artifact", hint="Build it again: edgekit build."
        ) from error


def probe(workers: Workers, builder: str = "tensorrt") -> Machine:
    """Look for a builder and a GPU, in a child process."""
    return Machine(**workers.call("gpu", f"{_ENGINE_STEPS}:probe", {"builder": builder}).value)


def build(
    folder: Path,
    device_name: str,
    *,
    output: Path | None = None,
    allow_unproven: bool = False,
    workers: Workers,
) -> Derived:
    """Build what the device runs from an artifact, run its golden samples there, and write the derived artifact.

    What a builder makes without a GPU has been executed by nothing: ``NOT_RUN``, kept aside, or in its place with
    ``allow_unproven``.

    Raises:
        UsageError: unknown device, or no artifact.
        DamagedFileError: a file of the artifact is altered or missing.
        UnsafeInputError: the model takes weights from outside of its folder.
        UnsupportedError: the artifact is of another format than the device's builder takes.
        NotRunError: this machine has no such builder or device.
    """
    device = load_device(device_name)
    here = folder.resolve()
    destination = output or here.with_name(f"{here.name}-{device.name}")
    publishing.check(destination, given=[folder])
    parent, file = _checked_parent(folder, device, workers)
    machine = probe(workers, device.builder)
    if missing := obstacles(device, machine):
        raise NotRunError(f"{device.name} cannot be built for here: {'; '.join(missing)}", hint=device.requires.hint)
    with tempfile.TemporaryDirectory() as scratch:
        engine, cache = Path(scratch) / ENGINE, Path(scratch) / TIMING_CACHE
        arguments = {
            "onnx_file": str(file),
            "engine_file": str(engine),
            "cache_file": str(cache),
            "old_cache_file": _old_cache(destination, machine),
            "builder_name": device.builder,
            "compute_capabilities": list(device.requires.builds_for),
            "sparse": sparse(parent),
        }
        built = workers.call("gpu", f"{_ENGINE_STEPS}:build", arguments).value
        golden = Path(scratch) / artifact.GOLDEN
        shutil.copyfile(folder / artifact.GOLDEN, golden)
        proven = None
        if machine.gpu and device.requires.builds_for in ((), (machine.compute_capability,)):
            proof = {"engine_file": str(engine), "golden_file": str(golden)}
            proven = _executed(workers, proof | {"builder": device.builder})
        derived = describe(folder, parent, device, machine, built, proven)
        files = {ENGINE: engine, TIMING_CACHE: cache, artifact.GOLDEN: golden}
        if derived.status != "PASS" and not (derived.status == "NOT_RUN" and allow_unproven):
            destination = publishing.rejected(destination)
        return artifact.write(destination, files, {}, derived)


def sparse(parent: artifact.Sealed) -> bool:
    """Whether an engine may skip two of four weights: the model's recipe left as many out."""
    return "2:4" in parent.patterns


def _checked_parent(folder: Path, device: BuilderDevice, workers: Workers) -> tuple[artifact.Sealed, Path]:
    if faults := contents.faults(folder):
        raise DamagedFileError(f"{folder}: {contents.sentence(faults)}", hint="Convert the model again.")
    if is_derived(folder):
        raise UsageError(f"{folder} is built for a device already", hint="Give the artifact that it was built from.")
    parent = artifact.read(folder)
    if parent.toolchain != device.toolchain:
        raise UnsupportedError(
            f"{device.name} is built from a {device.toolchain} artifact; this one is for {parent.toolchain}",
            hint=f"Convert to a {device.toolchain} target first: see `edgekit list targets`.",
        )
    if len(parent.parts) != 1 or not (folder / artifact.GOLDEN).is_file():
        raise UnsupportedError(
            f"build takes an artifact of one part with {artifact.GOLDEN}; this one has {len(parent.parts)} parts"
        )
    file = folder / next(iter(parent.parts.values())).file
    findings = workers.ask("runtime", audit.run, folder, audit.Request(parent.toolchain, file)).value.findings
    if findings:
        raise UnsupportedError(f"{device.builder} would refuse {file.name}: {'; '.join(findings[:3])}")
    return parent, file


def _old_cache(destination: Path, machine: Machine) -> str | None:
    """The timing cache of an earlier build for the same machine, which saves most of the time of a rebuild."""
    cache = destination / TIMING_CACHE
    if not cache.is_file() or not is_derived(destination) or contents.faults(destination):
        return None
    try:
        check_machine(read(destination), machine)
    except WrongDeviceError:
        return None
    return str(cache)


@dataclass(frozen=True)
class Executed:
    """What executing an engine on golden inputs gave.

    Attributes:
        by: what executed it.
        samples: how many.
        parity: closeness to the framework's outputs.
        parity_to_parent: closeness to the parent's, as the stand-in gave them.
    """

    by: str
    samples: int
    parity: Parity
    parity_to_parent: Parity


def describe(
    folder: Path,
    parent: artifact.Sealed,
    device: BuilderDevice,
    machine: Machine,
    built: Mapping[str, Any],
    proven: Executed | None,
) -> Derived:
    """Assemble the manifest of a derived artifact from what the children answered; ``proven`` None: not executed."""
    assert machine.builder_version
    built_for = device.requires.builds_for
    unproven = f"built by {device.builder} {machine.builder_version} for {', '.join(built_for)}; no GPU has executed it"
    verdict = _judge(proven, parent.precision, parent.gate) if proven else Verdict("NOT_RUN", unproven)
    return Derived(
        status=verdict.status,
        reason=verdict.reason,
        proof=Proof(kind="runtime", by=proven.by) if proven else Proof(kind="none"),
        parent=Parent(
            manifest_sha256=sha256_file(folder / contents.MANIFEST),
            target=parent.target,
            toolchain=parent.toolchain,
            precision=parent.precision,
            source=parent.source.name,
            framework=parent.framework,
        ),
        device=device.name,
        builder=device.builder,
        builder_version=machine.builder_version,
        gpu=machine.gpu,
        compute_capability=machine.compute_capability,
        driver=machine.driver,
        machine=machine.machine,
        built_for=built_for,
        sparse=sparse(parent),
        samples=proven.samples if proven else 0,
        parity=proven.parity.model_dump(mode="json") if proven else None,
        parity_to_parent=proven.parity_to_parent.model_dump(mode="json") if proven else None,
        gate=parent.gate,
        build_seconds=built["seconds"],
        layers=built["layers"],
    )


def verify(folder: Path, workers: Workers) -> dict[str, Any]:
    """Re-hash every file of a derived artifact and run its golden samples again, on its own kind of machine only.

    Returns:
        As ``artifact.verify``.

    Raises:
        WrongDeviceError: this machine has another GPU or another version of the builder, or none.
    """
    if faults := contents.faults(folder):
        return artifact.integrity(faults)
    derived = read(folder)
    if derived.proof.kind == "none":
        return artifact.answer("NOT_RUN", derived.reason)
    check_machine(derived, probe(workers, derived.builder))
    proof = {
        "engine_file": str(folder / ENGINE),
        "golden_file": str(folder / artifact.GOLDEN),
        "builder": derived.builder,
    }
    found = _executed(workers, proof)
    replay = wire.plain(found)
    verdict = _judge(found, derived.parent.precision, derived.gate)
    if verdict.status == "PASS" and derived.status != "PASS":
        return artifact.answer(derived.status, artifact.WHOLE_BUT.format(derived.reason), replay)
    return artifact.answer(verdict.status, verdict.reason, replay)


def _executed(workers: Workers, arguments: Mapping[str, str]) -> Executed:
    """Run golden inputs through an engine, in a child; by its name, because the module imports the builder."""
    return wire.read(Executed, workers.call("gpu", "edgekit.artifact.engine:run", arguments).value)


def _judge(found: Executed, precision: str, gate: Mapping[str, Any]) -> Verdict:
    """The verdict on golden samples by the parent's limits; those that an older manifest lacks are the defaults."""
    limits = Gate.model_validate(with_defaults(schemes.find(precision), gate))
    return judge_parity(found.parity, limits.parity)
