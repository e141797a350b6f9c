"""The machine that files run on, or that a device's builder runs on, and whether something was built for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgekit.errors import NotRunError, WrongDeviceError


@dataclass(frozen=True)
class Machine:
    """What was found on this machine; None is missing, and ``reasons`` say why."""

    machine: str
    builder_version: str | None
    gpu: str | None
    compute_capability: str | None
    driver: str | None
    reasons: tuple[str, ...] | list[str] = ()


class Built(Protocol):
    """What the manifest of a derived artifact says about its machine."""

    device: str
    builder: str
    builder_version: str
    gpu: str | None
    compute_capability: str | None
    machine: str


def check_machine(derived: Built, machine: Machine) -> None:
    """Raise ``WrongDeviceError`` unless the engine was built by this version of the builder for this kind of GPU."""
    compared = (
        (derived.builder, derived.builder_version, machine.builder_version),
        ("GPU", derived.gpu, machine.gpu),
        ("compute capability", derived.compute_capability, machine.compute_capability),
        ("processor", derived.machine, machine.machine),
    )
    wrong = [f"{what} {built}, here {here or 'none'}" for what, built, here in compared if built != here]
    if wrong:
        raise WrongDeviceError(
            f"this engine was built for another machine: {'; '.join(wrong)}",
            hint=f"Build it here from its parent: edgekit build ARTIFACT --device {derived.device}",
        )


def only(able: str, wanted: str, runtime: str) -> None:
    """Refuse a unit that a runtime does not reach."""
    if wanted != able:
        raise NotRunError(f"{runtime} runs on the {able}, not on the {wanted}")
