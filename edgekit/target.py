"""Targets: named deployment configurations, one TOML file each in ``targets/``."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from edgekit import catalogue, limits
from edgekit.errors import UsageError, did_you_mean
from edgekit.limits import Gate
from edgekit.ranges.estimator import TOOL
from edgekit.result import TargetFile
from edgekit.scheme import Equalization, Kind, Precision, Scheme
from edgekit.schemes import FP32, SCHEMES, find
from edgekit.signature import TRAITS, Framework, Trait

#: How weights become integers of less than 8 bits.
Rounding = Literal["nearest", "gptq"]
#: What a user asks for by an option, and is not given otherwise.
Option = Literal["allow-mixed", "search-routes"]


@dataclass(frozen=True)
class PassedOver:
    """Why a route is not tried: by which key of the TOML, the reason it gives, the option that would ask for it."""

    by: Literal["unless", "only", "needs"]
    reason: str
    option: Option | None = None


class TargetRoute(BaseModel):
    """One route in the order in which it is tried; a name may come twice, to be tried later where it was passed over.

    Attributes:
        name: of the toolchain's route.
        because: the measured reason for its place.
        unless: traits of graphs that it could convert and is not wanted for; ``--search-routes`` tries it all the same.
        only: traits of which a graph must have one: without them there is nothing that it does better than others.
        needs: the option that asks for it: its files would be refused without, or are no better everywhere.
        unless_because: the reason; likewise for the other two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    because: str
    unless: tuple[Trait, ...] = ()
    unless_because: str = ""
    only: tuple[Trait, ...] = ()
    only_because: str = ""
    needs: Option | None = None
    needs_because: str = ""

    @field_validator("unless", "only", mode="before")
    @classmethod
    def _known(cls, traits: Any) -> Any:
        for trait in traits if isinstance(traits, list) else ():
            if trait not in TRAITS:
                close = difflib.get_close_matches(str(trait), TRAITS, n=1, cutoff=0)[0]
                raise ValueError(f"unknown trait {trait!r}; did you mean {close!r}? known: {', '.join(TRAITS)}")
        return traits

    @model_validator(mode="after")
    def _reasons(self) -> TargetRoute:
        for key, value in (("unless", self.unless), ("only", self.only), ("needs", self.needs)):
            if bool(value) != bool(getattr(self, f"{key}_because")):
                raise ValueError(f"{key} and {key}_because go together")
        return self

    @property
    def asks(self) -> bool:
        """Whether it depends on what the graph is made of."""
        return bool(self.unless or self.only)

    def passed_over(self, traits: Collection[Trait], *, search: bool, allow_mixed: bool) -> PassedOver | None:
        """Why it is not tried for a graph with these traits; None where it is.

        Args:
            traits: of the graph.
            search: every route that can convert is tried (``--search-routes``).
            allow_mixed: layers may stay in float.
        """
        unwanted = [trait for trait in self.unless if trait in traits]
        if unwanted and not search:
            return PassedOver("unless", f"unless {', '.join(unwanted)}: {self.unless_because}", "search-routes")
        if self.only and not any(trait in traits for trait in self.only):
            return PassedOver("only", f"only {' or '.join(self.only)}: {self.only_because}")
        if self.needs and not {"allow-mixed": allow_mixed, "search-routes": search}[self.needs]:
            return PassedOver("needs", f"needs --{self.needs}: {self.needs_because}", self.needs)
        return None


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
        layers: below 8 bits, the kinds of layers that the format has kernels for; weights of others stay higher.
        layers_because: how that is known.
        partial_blocks: whether the last block of a channel may hold fewer weights than the others.
        rounding: how weights are rounded below 8 bits where there are calibration samples: ``gptq``, or to the
            ``nearest``.
        equalize: how channels are scaled where no route passes without.
        ranges: plan by which activations get their ranges, where the user asks for no other (``calibration/``).
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
    layers: tuple[Kind, ...] = ()
    layers_because: str = ""
    partial_blocks: bool = False
    rounding: Rounding = "nearest"
    equalize: Equalization = "none"
    ranges: str = TOOL.name
    routes: tuple[TargetRoute, ...] = Field(alias="route", min_length=1)
    gate: Gate
    _file: TargetFile | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _fill_gate(cls, content: dict[str, Any]) -> dict[str, Any]:
        given, precision = content.get("gate", {}), content.get("precision")
        if not isinstance(precision, str) or precision not in SCHEMES or not isinstance(given, dict):
            return content  # which is an error of its own
        return {**content, "gate": limits.with_defaults(SCHEMES[precision], given)}

    @field_validator("precision")
    @classmethod
    def _known(cls, precision: Precision) -> Precision:
        try:
            return find(precision).name
        except UsageError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _has_a_twin(self) -> Target:
        if (self.scheme == FP32) != (self.float_twin is None):
            raise ValueError("every target names its float_twin, and one of fp32 has none")
        return self

    @model_validator(mode="after")
    def _says_its_layers(self) -> Target:
        if not self.scheme.below_8_bits == bool(self.layers) == bool(self.layers_because):
            raise ValueError("layers and layers_because go together, and belong to targets below 8 bits alone")
        if self.rounding != "nearest" and self.scheme.weights != "int4":
            raise ValueError(f"rounding {self.rounding} belongs to targets of int4 weights alone")
        if unfit := self.unfit(self.equalize):
            raise ValueError(f"equalize: {unfit}")
        return self

    @model_validator(mode="after")
    def _has_ranges(self) -> Target:
        if self.ranges != TOOL.name and not self.needs_calibration:
            raise ValueError(f"ranges: {self.precision} takes none from samples")
        return self

    @property
    def file(self) -> TargetFile:
        """The TOML that it was read from."""
        assert self._file is not None
        return self._file

    @property
    def scheme(self) -> Scheme:
        """What its precision means."""
        return SCHEMES[self.precision]

    def unfit(self, equalize: Equalization) -> str:
        """Why a way to equalize channels is none for it; an empty string where it is one."""
        if equalize == "awq" and self.scheme.weights != "int4":
            return f"awq is for int4 weights, which {self.name} has not"
        if equalize == "smoothquant" and not self.scheme.needs_calibration:
            return f"smoothquant is for activations in integers whose ranges come from samples; {self.name} has none"
        if equalize == "cle" and self.scheme.is_float:
            return f"{self.name} quantizes nothing"
        return ""

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges come from calibration samples."""
        return self.scheme.needs_calibration


def names() -> list[str]:
    """All target names, sorted."""
    return catalogue.names("targets")


#: What other tools call the formats.
_ALSO = {
    "onnx": "onnxruntime", "ort": "onnxruntime", "litert": "tflite", "lite": "tflite", "trt": "tensorrt",
    "ov": "openvino", "et": "executorch", "pte": "executorch", "mlmodel": "coreml", "mlpackage": "coreml",
}  # fmt: skip


def load(name: str) -> Target:
    """Read a target by name or by path of a TOML file; raises ``UsageError`` naming the wrong key."""
    if not name.strip():
        raise UsageError(
            "a target has an empty name",
            hint="Leave out the comma too many, or name it: `edgekit list targets` lists them.",
        )
    first, dash, rest = name.partition("-")
    called = f"{_ALSO.get(first, first)}{dash}{rest}"
    if called != name and called in (known := names()) and name not in known:
        raise UsageError(f"unknown target {name!r}", hint=f"Here it is called {called!r}. See `edgekit list targets`.")
    return parse(catalogue.find("targets", name))


def parse(path: Path) -> Target:
    """Read and validate one target file."""
    content = catalogue.read(path)
    if "name" in content:
        raise UsageError(
            f"{path.name}: name: a target is named by its file", hint="Remove the key, or rename the file."
        )
    try:
        found = Target.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        # A misspelt key comes before the one that is missing for it.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        where = ": ".join([path.name, *filter(None, [".".join(str(part) for part in first["loc"])])])
        near = ""
        if first["type"] == "extra_forbidden":
            near = did_you_mean(str(first["loc"][-1]), _keys(Target, first["loc"]))
        raise UsageError(f"{where}: {first['msg']}", hint=f"{near}Compare with the packaged targets.") from error
    packaged = catalogue.is_packaged("targets", path)
    found._file = TargetFile(
        name=found.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        path=None if packaged else str(path),
        stands_in=catalogue.stands_in("targets", path),
    )
    return found


def _keys(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """What may be said at a place of a file, whose last part is a key that may not."""
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    if len(place) == 1:
        return list(fields)
    if isinstance(place[0], int):  # of a list of tables
        return _keys(model, place[1:])
    of = fields[place[0]]
    inner = next(kind for kind in (of, *get_args(of)) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return _keys(inner, place[1:])


def float_twin(target: Target) -> Target:
    """The fp32 target of a target's format; raises ``UsageError`` where what it names is another."""
    assert target.float_twin is not None
    found = load(target.float_twin)
    if found.scheme != FP32 or (found.format, found.toolchain) != (target.format, target.toolchain):
        raise UsageError(
            f"{target.name}: float_twin: {found.name} is {found.format} {found.precision}; needed: {target.format} fp32"
        )
    return found


def whole() -> list[Target]:
    """All targets that can be read; one bad file takes none of the others away."""
    found = []
    for name in names():
        with contextlib.suppress(UsageError):
            found.append(load(name))
    return found


def gentler(target: Target) -> list[str]:
    """Targets of the same format that quantize less, the smallest files first."""
    order = list(SCHEMES)
    found = [
        t for t in whole() if t.format == target.format and order.index(t.precision) > order.index(target.precision)
    ]
    return [t.name for t in sorted(found, key=lambda t: order.index(t.precision))]


def of_other_formats(target: Target) -> list[str]:
    """Float targets of other formats whose files their own runtime proves here."""
    return [t.name for t in whole() if t.format != target.format and t.float_twin is None and t.proof == "runtime"]


def without_calibration(target: Target) -> list[str]:
    """Targets of the same format that need no calibration samples."""
    return [t.name for t in whole() if t.format == target.format and not t.needs_calibration]
