"""Targets: named deployment configurations, one TOML file each in ``targets/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgekit import catalogue, limits
from edgekit.errors import UsageError
from edgekit.limits import Gate
from edgekit.scheme import STATIC, Precision
from edgekit.signature import Framework

#: What a graph may be made of; ``toolchains/_shared/traits.py`` says what each means and finds it.
Trait = Literal[
    "attention", "recurrent", "cells", "unrolled", "stateful", "looped", "loops", "gated", "depthwise", "grouped",
    "transposed",
]  # fmt: skip
TRAITS: tuple[Trait, ...] = get_args(Trait)


class TargetRoute(BaseModel):
    """One route in the order in which it is tried, with the measured reason for its place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    because: str


class Target(BaseModel):
    """A deployment configuration: format, precision, I/O type, routes in order, gate.

    Attributes:
        name: the file's name.
        toolchain: module in ``edgekit/toolchains``.
        integer_io: float inputs and outputs become integers in the file.
        float_twin: the fp32 target of the same format; None in that target itself.
        proof: what executes the file on the machine that converts it; said here, found out by the session.
        default_framework: what a bare zoo name takes.
        minimum_deployment_target: oldest system that the file must run on, for formats that depend on it (Core ML:
            ``iOS18``).
        gate: limits; what the file leaves out is the precision's default (``edgekit.limits``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    format: str
    toolchain: str
    precision: Precision
    integer_io: bool = False
    float_twin: str | None = None
    proof: Literal["runtime", "stand-in"] = "runtime"
    default_framework: Framework
    minimum_deployment_target: str | None = None
    routes: tuple[TargetRoute, ...] = Field(alias="route", min_length=1)
    gate: Gate

    @model_validator(mode="before")
    @classmethod
    def _fill_gate(cls, content: dict[str, Any]) -> dict[str, Any]:
        given, precision = content.get("gate", {}), content.get("precision")
        if precision is None or precision not in limits.PARITY or not isinstance(given, dict):
            return content  # which is an error of its own
        return {**content, "gate": limits.with_defaults(precision, given)}

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges come from calibration samples."""
        return self.precision in STATIC


def names() -> list[str]:
    """All target names, sorted."""
    return catalogue.names("targets")


def load(name: str) -> Target:
    """Read a target by name or by path of a TOML file; raises ``UsageError`` naming the wrong key."""
    path = catalogue.find("targets", name)
    return parse(path)


def parse(path: Path) -> Target:
    """Read and validate one target file."""
    content = catalogue.read(path)
    try:
        return Target.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path.name}: {where}: {first['msg']}", hint="Compare with the packaged targets.") from error


def gentler(target: Target) -> list[str]:
    """Targets of the same format that quantize less, the smallest files first."""
    order: tuple[Precision, ...] = ("int8", "int8-dynamic", "int8-weights", "int16x8", "fp16", "fp32")
    others = [load(name) for name in names()]
    found = [
        t for t in others if t.format == target.format and order.index(t.precision) > order.index(target.precision)
    ]
    return [t.name for t in sorted(found, key=lambda t: order.index(t.precision))]


def without_calibration(target: Target) -> list[str]:
    """Targets of the same format that need no calibration samples."""
    others = [load(name) for name in names()]
    return [t.name for t in others if t.format == target.format and not t.needs_calibration]
