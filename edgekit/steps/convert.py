"""Converting by one route."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import scheme, toolchains
from edgekit.data import plan as planning
from edgekit.scheme import Precision
from edgekit.signature import Signature
from edgekit.steps import Json
from edgekit.steps.load import load
from edgekit.toolchains import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.target import Trait


def routes(folder: str, toolchain_name: str) -> Json:
    """The routes of a toolchain: ``{name: {"environments": {...}, "quantizes_file": bool}}``."""
    return {
        name: {"environments": dict(route.environments), "quantizes_file": route.quantizes_file}
        for name, route in toolchains.routes(toolchain_name).items()
    }


def run(
    folder: str,
    toolchain_name: str,
    route: str,
    environment: str,
    source: Json | None,
    precision: Precision,
    integer_io: bool,
    signature: Json,
    calibration_file: str | None,
    float_file: str | None,
    traits: list[Trait],
    minimum_deployment_target: str | None = None,
) -> Json:
    """Convert by one route into ``folder``."""
    loaded = load(source, environment) if source is not None else None
    names = Signature.from_json(signature)
    request = Request(
        folder=Path(folder),
        scheme=scheme.find(precision),
        integer_io=integer_io,
        calibration=_whole(names, Path(calibration_file)) if calibration_file else None,
        float_file=Path(float_file) if float_file else None,
        inputs=tuple(t.name for t in names.inputs),
        outputs=tuple(t.name for t in names.outputs),
        traits=frozenset(traits),
        minimum_deployment_target=minimum_deployment_target,
    )
    made = toolchains.routes(toolchain_name)[route].convert(loaded, request)
    return {"file": str(made.file.relative_to(folder)), "notes": list(made.notes)}


def _whole(names: Signature, file: Path) -> dict[str, NDArray[np.generic]]:
    """Samples in the shape in which a run takes them."""
    rows = planning.load(file).inputs
    return {t.name: rows[t.name].reshape(-1, *t.shape) for t in names.inputs}
