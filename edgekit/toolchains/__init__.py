"""Toolchains: one module per vendor, found by name; each drives a converter and its runtime.

A toolchain module is imported in child processes only and has

- ``STEP_VERSION: int``: raised when its output changes for the same input (part of the store's key);
- ``PACKAGES: tuple[str, ...]``: the distributions whose versions matter;
- ``ROUTES: Mapping[str, Route]``;
- ``audit(file: Path) -> Audit``: what is inside, from the file itself, nothing executed;
- ``open_session(file: Path, precision: Precision, *, threads: int = 1) -> Session``.

The facts that the parent process needs without importing it (routes, packages) are read in a child or from
target files; see ``edgekit/target.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.errors import UsageError
from edgekit.frameworks import Environment, LoadedModel
from edgekit.precision import Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Request:
    """What a route is asked to do.

    Attributes:
        folder: an empty folder; the route writes its files here and nowhere else.
        precision: what the target claims.
        integer_io: whether float inputs and outputs become integers (full-integer targets).
        calibration: samples by input name, in the model's own layout, first axis is the sample; None where the
            precision needs none. Never random, never selection or test samples.
        float_file: the verified fp32 file of the same format, for routes that quantize a file.
        names: the source's input and output names, in order, which the written file must be mapped to.
        minimum_deployment_target: oldest system that the file must run on, for formats that depend on it (Core ML).
    """

    folder: Path
    precision: Precision
    integer_io: bool
    calibration: Mapping[str, NDArray[np.generic]] | None
    float_file: Path | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    minimum_deployment_target: str | None = None


@dataclass(frozen=True)
class Converted:
    """What a route wrote.

    Attributes:
        file: the main file, inside ``Request.folder``.
        notes: facts the user must know, one sentence each (a batch fixed to 1, an LSTM unrolled).
    """

    file: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Route:
    """One way through a toolchain.

    Attributes:
        environments: where it runs: framework of the source -> kind of child. A framework that is missing is not
            served by this route. A route with ``quantizes_file`` runs in ``runtime`` (no framework imported).
        convert: the function. ``model`` is None exactly where ``quantizes_file``.
        quantizes_file: True where it starts from ``Request.float_file`` and not from the model.
    """

    environments: Mapping[str, Environment]
    convert: Callable[[LoadedModel | None, Request], Converted]
    quantizes_file: bool = False


class Session(Protocol):
    """An opened file in its runtime; float tensors in and out, whatever the file stores.

    Attributes:
        by: runtime, version and engine, for example ``ai-edge-litert 2.3.0 XNNPACK``.
        precision: the execution precision, read back from the runtime where it can be (``f32``, ``int8``).
        ops_delegated: operators run by the fast delegate, or None.
        stand_in: True where this is not the runtime that the file ships to (its proof is then named so, and its
            latency means nothing).
    """

    by: str
    precision: str
    ops_delegated: int | None
    stand_in: bool

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Run one sample (batch 1 on the first axis) and return fresh arrays by output name."""
        ...

    def bind(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], object]:
        """Set the inputs, quantized already, and return a function that only invokes (for latency)."""
        ...

    def reset(self) -> None:
        """Forget all state carried between runs."""
        ...


def names() -> list[str]:
    """All toolchains, found by file name."""
    here = Path(__file__).parent
    modules = {p.stem for p in here.glob("*.py")} | {p.parent.name for p in here.glob("*/__init__.py")}
    return sorted(name for name in modules if not name.startswith("_"))


#: File ending -> toolchain, for files that come without a manifest.
_ENDINGS = {
    ".tflite": "litert",
    ".onnx": "onnx",
    ".xml": "openvino",
    ".mlpackage": "coreml",
    ".pte": "executorch",
}


def for_file(path: Path) -> str:
    """The toolchain of a model file by its ending."""
    if path.suffix not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        raise UsageError(f"{path.name} has no known ending; known: {known}", hint="Pass --toolchain NAME.")
    return _ENDINGS[path.suffix]
