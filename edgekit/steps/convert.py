"""Converting by one route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import toolchains
from edgekit.data import plan as planning
from edgekit.frameworks.once import load
from edgekit.ranges.estimator import TOOL, Estimator
from edgekit.scheme import Range, Rule, Scheme
from edgekit.signature import Environment, Signature, Trait
from edgekit.sources.source import Source
from edgekit.steps import File
from edgekit.toolchains import Kept

if TYPE_CHECKING:
    from edgekit.data.rows import Rows


@dataclass(frozen=True)
class RoutesRequest:
    """Which toolchain."""

    toolchain: str


@dataclass(frozen=True)
class RouteFacts:
    """Where a route runs, whether it starts from a float file and takes ranges; see ``toolchains.Route``."""

    environments: Mapping[str, Environment]
    quantizes_file: bool
    takes_ranges: bool = False


def routes(folder: Path, request: RoutesRequest) -> Mapping[str, RouteFacts]:
    """The routes of a toolchain, by name."""
    found = toolchains.routes(request.toolchain)
    return {
        name: RouteFacts(route.environments, route.quantizes_file, "ranges" in route.honours)
        for name, route in found.items()
    }


@dataclass(frozen=True)
class Request:
    """What is converted, and how; see ``toolchains.Request`` for what is not said here.

    Attributes:
        toolchain: whose route it is.
        route: its name.
        environment: kind of child.
        source: what the route starts from; None where it starts from ``float_file``.
        signature: the source's.
        calibration: file of samples.
        whole: whether it is all of the model.
        estimator: of the ranges that come from the samples.
        on_grid: whether training left the weights where the scheme stores them.
    """

    toolchain: str
    route: str
    environment: str
    source: Source | None
    scheme: Scheme
    integer_io: bool
    signature: Signature
    calibration: File | None
    float_file: File | None
    traits: frozenset[Trait]
    minimum_deployment_target: str | None
    layers: tuple[Rule, ...] = ()
    ranges: tuple[Range, ...] = ()
    whole: bool = True
    estimator: Estimator = TOOL
    on_grid: bool = False


@dataclass(frozen=True)
class Answer:
    """Name of the main file in the step's folder; the rest as ``toolchains.Converted`` has it."""

    file: str
    notes: tuple[str, ...] = ()
    entry: str | None = None
    kept: tuple[Kept, ...] = ()
    ranges: tuple[Range, ...] = ()


def run(folder: Path, request: Request) -> Answer:
    """Convert by one route."""
    loaded = load(request.source, request.environment) if request.source is not None else None
    asked = toolchains.Request(
        folder=folder,
        scheme=request.scheme,
        integer_io=request.integer_io,
        calibration=_rows(request.signature, Path(request.calibration)) if request.calibration else None,
        float_file=Path(request.float_file) if request.float_file else None,
        inputs=tuple(t.name for t in request.signature.inputs),
        outputs=tuple(t.name for t in request.signature.outputs),
        traits=request.traits,
        minimum_deployment_target=request.minimum_deployment_target,
        layers=request.layers,
        ranges=request.ranges,
        whole=request.whole,
        estimator=request.estimator,
        on_grid=request.on_grid,
    )
    made = toolchains.convert(toolchains.routes(request.toolchain)[request.route], loaded, asked)
    return Answer(str(made.file.relative_to(folder)), tuple(made.notes), made.entry, made.kept, made.ranges)


def _rows(signature: Signature, file: Path) -> dict[str, Rows]:
    """Samples in the shape in which a run takes them, each read when it is asked for."""
    found = planning.rows_of(file)
    return {t.name: found[t.name].of_shape(t.shape) for t in signature.inputs}
