"""Toolchains: one module per vendor, found by name; each drives a converter and its runtime.

A toolchain is a folder whose ``__init__`` holds facts alone (``PACKAGES``: the distributions whose versions matter;
``ENDING``: of its files, where they are told by it; ``FOLDERS``: whether they are folders; ``ENTRY``: what the format
calls one of several parts of a file, where it can hold several: ``open_session`` and ``audit`` then take its name as
``entry``; ``FOLDS_NORMS_OF``: frameworks whose exporter multiplies a norm's scales into the weights behind it;
``ZEROS``: what the format and its runtime make of weights that are zero; ``INTEGER_BIASES``: kinds of layers whose
biases are int32 where activations have ranges, of the step of what the layer takes times that of its weights, with the
most axes that a result may have for it, None for any; ``INTEGER_TABLES``: whether what is looked up in becomes int8
with a scale per row, too; ``VARIABLES``: what every child sets in its environment, where the vendor's libraries need
it), so that the parent process may read them. What needs a framework or a runtime lies in modules that are imported in
children only:

- ``routes.ROUTES: Mapping[str, Route]``, named as below;
- ``audit.audit(file: Path) -> Inspected``: what is inside, from the file itself, nothing executed;
- ``traits.graph(file: Path) -> Graph``: a float file as the graph that traits are found in (``_shared/traits.py``);
- ``session.open_session(file: Path, options: Options) -> Session``; where the runtime has a profiler,
  ``session.profile(file, options, inputs) -> list[tuple[name, kind, milliseconds]]``; where it may reach other units
  than the CPU, ``session.units() -> list[Unit]``; where the vendor's library is not imported with the module,
  ``session.load_runtime()``;
- ``passes.scales.read(file, entry) -> tuple[Scaled, ...]`` and, there or in ``session``,
  ``delegated_operators(file, entry)``: what `edgekit inspect` shows beyond the audit, where the format has it;
- ``compact.compact(file: Path, folder: Path) -> Names | None``, where the format's names or zeros take room: the
  chosen file alone, before it is packaged.

A route's name says what it does: ``export-TOOL`` for float files, else ``METHOD-NUMBERS-TOOL[-SCOPE ...]``.

- METHOD: ``cast`` (weights to a shorter float), ``weights`` (weights alone to integers), ``dynamic`` (activations get
  their scale at run time), ``ptq`` (activations have ranges from calibration samples).
- NUMBERS: ``w8a8``, ``w8a16``, ``w4a8``, ``w8``, ``w4``: integer bits of weights and activations; ``wf16``,
  ``wf16af16``: float16 weights, computed in float32 or in float16.
- TOOL: what exports or quantizes. ``converter`` is TensorFlow's, ``quantizer`` ai-edge-quantizer, ``qdq`` and ``ort``
  are ONNX Runtime's, static and dynamic, ``nncf`` is OpenVINO's, ``pt2e`` torchao's, ``xnnpack`` ExecuTorch's; others
  go by the name of a distribution in the folder's ``PACKAGES``.
- SCOPE, where it is not all that the tool does by itself: ``matmuls`` (matrix products and convolutions alone: norms,
  softmax, sums and gates stay float), ``all`` (also what the tool leaves float by itself), ``noconv`` and
  ``nodepthwise`` (such convolutions use their integer weights in float), ``mixed`` (so do pointwise ones),
  ``unrolled`` (recurrent layers taken apart), ``dynamic-cells`` (they get their scales at run time), ``widened``
  (float16 weights become float32 when the file is opened), ``float-outputs`` (of a target whose outputs are integers),
  ``per-tensor`` and ``symmetric`` (the scales of weights), ``unsmoothed`` (no scale goes from activations to weights,
  and no bias is corrected).
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks import LoadedModel
from edgekit.ranges.estimator import TOOL, Estimator, Method
from edgekit.scheme import Kind, Range, Rule, Scheme
from edgekit.signature import Environment, State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.result import Inspected
    from edgekit.signature import Trait
    from edgekit.toolchains._shared.traits import Graph


@dataclass(frozen=True)
class Zeros:
    """What a format and its runtime make of weights that are zero.

    Attributes:
        stored: whether a file that holds them is smaller.
        skipped: patterns of which the runtime leaves out multiplications, and where.
        because: both in words, with what says so.
    """

    stored: bool
    skipped: tuple[str, ...]
    because: str


class Rows(Protocol):
    """Samples of one input, one after the other: an array, or what reads them from a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Request:
    """What a route is asked to do.

    Attributes:
        folder: an empty folder; the route writes its files here and nowhere else.
        scheme: what the target claims.
        integer_io: whether float inputs and outputs become integers (full-integer targets).
        calibration: samples by input name, in the model's own layout, each as a run takes it: ``rows[i]`` is one,
            its batch of 1 included. None where the scheme needs none. Never random, never selection or test samples.
        float_file: the verified fp32 file of the same format, for routes that quantize a file.
        inputs: the source's input names, in order, which the written file must be mapped to.
        outputs: its output names, likewise.
        minimum_deployment_target: oldest system that the file must run on, for formats that depend on it (Core ML).
        traits: what the float file's graph is made of; empty where there is none yet.
        layers: what some layers become instead of ``scheme``; see ``_shared/rules.py``. The first that takes a layer
            counts.
        ranges: of activations by name, which they get exactly, whatever the samples say.
        whole: whether this is all of the model: what is called by a name that is not here may be in another part.
        estimator: of the ranges that come from the samples; ``tool`` where the tool finds them in its own way.
        on_grid: whether weights lie where the scheme stores them: nothing may scale them, or correct a bias for others.
    """

    folder: Path
    scheme: Scheme
    integer_io: bool
    calibration: Mapping[str, Rows] | None
    float_file: Path | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    minimum_deployment_target: str | None = None
    traits: frozenset[Trait] = frozenset()
    layers: tuple[Rule, ...] = ()
    ranges: tuple[Range, ...] = ()
    whole: bool = True
    estimator: Estimator = TOOL
    on_grid: bool = False


@dataclass(frozen=True)
class Kept:
    """A layer that a rule kept from what the target says.

    Attributes:
        names: what it is called, first as the rule called it.
        kind: what it does with its weights.
        macs: multiply-accumulates of one run.
        becomes: what it is instead: ``float``, or a scheme's name.
    """

    names: tuple[str, ...]
    kind: Kind
    macs: int
    becomes: str = "float"


@dataclass(frozen=True)
class Converted:
    """What a route wrote.

    Attributes:
        file: the main file, inside ``Request.folder``.
        entry: the signature, method or function of it that is the part; None where it has one alone.
        notes: facts the user must know, one sentence each (a batch fixed to 1, an LSTM unrolled).
        kept: layers that ``Request.layers`` kept from the scheme.
        ranges: of activations, by nodes of the graph that it quantized, where the file itself names no tensors.
    """

    file: Path
    notes: tuple[str, ...] = ()
    entry: str | None = None
    kept: tuple[Kept, ...] = ()
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True)
class Scaled:
    """A tensor whose integers stand for real numbers: real = (stored - zero point) * scale.

    Attributes:
        name: as the file has it.
        type: of an element as stored.
        constant: whether it lies in the file.
        scales: one, or one for each place of ``axis``, or for each block; empty where the file does not store them so.
        zero_points: one, or as many as scales.
        axis: that scales belong to; None where there is one, or the format does not say.
        block: elements that share a scale; 0 where it is one for a tensor or a channel.
    """

    name: str
    type: str
    constant: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None
    block: int = 0


#: Share of a file's bytes that short names must save to be worth it.
WORTH = 0.00001


@dataclass(frozen=True)
class Names:
    """What the short names of a packaged file stand for.

    Until a file is chosen its layers and values keep their names: sensitivity, mixed precision and people need them.

    Attributes:
        values: tensors, short name -> the name that it had until the file was chosen.
        operators: the same of operators, found by the short name of their first output where they have no name left.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    operators: Mapping[str, str] = field(default_factory=dict)


#: Fields of a request that a route may be unable to realise.
Honoured = Literal["layers", "ranges", "estimator"]
#: What routes honour: all, or rules alone, where no activation has a range before the file runs.
STEERED: frozenset[Honoured] = frozenset(("layers", "ranges", "estimator"))
BY_LAYER: frozenset[Honoured] = frozenset(("layers",))
#: Why a route that finds ranges at run time takes none.
DYNAMIC_RANGES = "activations get their ranges when the file runs"
FLOAT_ACTIVATIONS = "activations stay in float"
#: How the user calls them.
_CALLED: Mapping[Honoured, str] = {
    "layers": "rules per layer (--keep-float)",
    "ranges": "ranges of activations",
    "estimator": "estimators of ranges (--ranges)",
}


#: Where a route runs that starts from a float file, whoever made that.
RUNTIME: Mapping[str, Environment] = {"keras": "runtime", "torch": "runtime", "onnx": "runtime"}


@dataclass(frozen=True)
class Route:
    """One way through a toolchain.

    Attributes:
        environments: where it runs: framework of the source -> kind of child. A framework that is missing is not
            served by this route. A route with ``quantizes_file`` runs in ``runtime`` (no framework imported).
        convert: the function. ``model`` is None exactly where ``quantizes_file``.
        quantizes_file: True where it starts from ``Request.float_file`` and not from the model.
        honours: which fields of a request that say more than the scheme it realises; ``convert`` refuses the others.
        because: why it cannot honour the others.
        own: how its tool finds ranges by itself, where that is one of the methods that there are names for.
    """

    environments: Mapping[str, Environment]
    convert: Callable[[LoadedModel | None, Request], Converted]
    quantizes_file: bool = False
    honours: frozenset[Honoured] = frozenset()
    because: str = ""
    own: Method = "tool"


#: Where a file is executed.
Unit = Literal["cpu", "gpu", "npu"]


@dataclass(frozen=True)
class Options:
    """How a file is opened.

    Attributes:
        scheme: what the file claims: sessions look closer at what is quantized.
        threads: of the runtime.
        unit: which of the machine's.
    """

    scheme: Scheme
    threads: int = 1
    unit: Unit = "cpu"


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
        """Run one sample, in the shapes of the file's inputs, and return fresh arrays by output name."""
        ...

    def bind(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], object]:
        """Set the inputs, quantized already, and return a function that only invokes (for latency)."""
        ...

    def reset(self) -> None:
        """Forget all state carried between runs."""
        ...


def names() -> list[str]:
    """All toolchains, found by folder name."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg and found.name[0] != "_")


def facts(name: str) -> Any:
    """The toolchain's package, whose constants are facts; imports nothing else."""
    return importlib.import_module(f"edgekit.toolchains.{name}")


def integer_biases(name: str) -> Mapping[Kind, int | None]:
    """Kinds of layers whose biases are integers in files of a toolchain where activations have ranges."""
    found: Mapping[Kind, int | None] = getattr(facts(name), "INTEGER_BIASES", {})
    return found


def layers(name: str, said: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Kinds of layers whose weights become integers in files of a toolchain: those that a target names, else all."""
    tables = getattr(facts(name), "INTEGER_TABLES", False)
    return said or tuple(kind for kind in get_args(Kind) if tables or kind != "embedding")


def variables() -> dict[str, str]:
    """What all toolchains want in the environment of a child."""
    return {key: value for name in names() for key, value in getattr(facts(name), "VARIABLES", {}).items()}


def routes(name: str) -> Mapping[str, Route]:
    """The routes of a toolchain by name; in a child only."""
    found: Mapping[str, Route] = importlib.import_module(f"edgekit.toolchains.{name}.routes").ROUTES
    return found


def convert(route: Route, model: LoadedModel | None, request: Request) -> Converted:
    """Convert by a route; in a child only.

    Raises:
        UnsupportedError: the request holds rules, ranges or an estimator that the route cannot honour.
    """
    if request.estimator.method == route.own:
        request = replace(request, estimator=replace(request.estimator, method="tool"))
    asks = {"layers": request.layers, "ranges": request.ranges, "estimator": not request.estimator.by_tool}
    for asked in sorted(STEERED - route.honours):
        if asks[asked]:
            why = route.because or "it quantizes nothing"
            raise UnsupportedError(f"this route does not know {_CALLED[asked]}: {why}")
    return route.convert(model, request)


def audit(name: str, file: Path, entry: str | None = None) -> Inspected:
    """Look into a file, or into one entry of it, without executing it; in a child only."""
    module = importlib.import_module(f"edgekit.toolchains.{name}.audit")
    found: Inspected = module.audit(file, **_by_name(name, file, entry))
    return found


def _by_name(name: str, file: Path, entry: str | None) -> dict[str, str]:
    """The argument that names an entry; none where there is none, so that formats without them know nothing of it."""
    if entry is not None and not hasattr(facts(name), "ENTRY"):
        raise UsageError(f"{file.name} has no entry {entry!r}: files of {name} hold one model", hint="Name none.")
    return {} if entry is None else {"entry": entry}


def ranges_of(name: str, file: Path) -> tuple[Range, ...]:
    """The ranges of activations in a quantized file, by the names that a request takes; in a child only."""
    found: tuple[Range, ...] = _ranges(name).read(file)
    return found


def values_of(
    name: str, file: Path, tensors: Iterable[str], samples: Mapping[str, Rows]
) -> dict[str, list[NDArray[Any]]]:
    """What tensors of a float file are on each of some samples; in a child only.

    Those that are not in the file are left out.
    """
    found: dict[str, list[NDArray[Any]]] = _ranges(name).values(file, tensors, samples)
    return found


def graph_values_of(
    name: str, model: LoadedModel, nodes: Collection[str], samples: Mapping[str, Rows]
) -> dict[str, list[NDArray[Any]]]:
    """The same of nodes of the graph that a toolchain quantizes, whose files name no tensors; in a child only."""
    found: dict[str, list[NDArray[Any]]] = _ranges(name).of_graph(model, nodes, samples)
    return found


def renamed(name: str, before: Path, after: Path) -> Mapping[str, str]:
    """What tensors of a float file are called in that of other weights, where that is another name; in a child only.

    Raises:
        UnsupportedError: the files are not alike.
    """
    module = _ranges(name)
    if not hasattr(module, "tensors"):
        return {}
    old, new = module.tensors(before), module.tensors(after)
    if [made for _, made in old] != [made for _, made in new]:
        raise UnsupportedError("the float file of the trained weights is built otherwise than the one before")
    return {one: other for (one, _), (other, _) in zip(old, new, strict=True) if one != other}


def reads_ranges(name: str) -> bool:
    """Whether ranges can be read back from a toolchain's files."""
    return importlib.util.find_spec(f"edgekit.toolchains.{name}.passes.ranges") is not None


def _ranges(name: str) -> Any:
    return importlib.import_module(f"edgekit.toolchains.{name}.passes.ranges")


def scales_of(name: str, file: Path, entry: str | None = None) -> tuple[Scaled, ...] | None:
    """Scales and zero points in a file; None where they are not read from this format. In a child only."""
    if importlib.util.find_spec(f"edgekit.toolchains.{name}.passes.scales") is None:
        return None
    found: tuple[Scaled, ...] = importlib.import_module(f"edgekit.toolchains.{name}.passes.scales").read(file, entry)
    return found


def delegated(name: str, file: Path, entry: str | None = None) -> dict[str, tuple[int, int]] | None:
    """Operators by type, how many the fast delegate takes and of how many; None where it cannot be told.

    In a child only: where the file itself does not say, the runtime is asked by opening it.
    """
    if importlib.util.find_spec(f"edgekit.toolchains.{name}.passes.scales") is not None:
        of_file = importlib.import_module(f"edgekit.toolchains.{name}.passes.scales")
        if hasattr(of_file, "delegated_operators"):
            told: dict[str, tuple[int, int]] | None = of_file.delegated_operators(file, entry)
            return told
    session = importlib.import_module(f"edgekit.toolchains.{name}.session")
    return session.delegated_operators(file, entry) if hasattr(session, "delegated_operators") else None


def traits_of(name: str, file: Path, states: Sequence[State] = ()) -> frozenset[Trait]:
    """What a float file's graph is made of, see ``_shared/traits.py``; in a child only.

    Args:
        name: the toolchain.
        file: what it wrote.
        states: of the source's signature: an output that is an input of the next call.
    """
    from edgekit.toolchains._shared.traits import find

    graph: Graph = importlib.import_module(f"edgekit.toolchains.{name}.traits").graph(file)
    return find(graph, states)


def load_runtime(name: str) -> bool:
    """Import a toolchain's runtime; returns whether this process did not have it yet. In a child only."""
    module = f"edgekit.toolchains.{name}.session"
    fresh = module not in sys.modules
    found = importlib.import_module(f"edgekit.toolchains.{name}.session")
    if hasattr(found, "load_runtime"):
        found.load_runtime()
    return fresh


def units(name: str) -> list[Unit]:
    """What of this machine a toolchain's runtime reaches, by asking it; in a child only."""
    module = importlib.import_module(f"edgekit.toolchains.{name}.session")
    found: list[Unit] = module.units() if hasattr(module, "units") else ["cpu"]
    return found


def open_session(name: str, file: Path, options: Options, *, entry: str | None = None) -> Session:
    """Open a file, or one entry of it, in the runtime of a toolchain; in a child only.

    Raises:
        NotRunError: the runtime does not reach the unit here.
        UsageError: the file has no such entry, or several and none was named.
    """
    module = importlib.import_module(f"edgekit.toolchains.{name}.session")
    opened: Session = module.open_session(file, options, **_by_name(name, file, entry))
    return opened


def profile(
    name: str, file: Path, options: Options, inputs: Mapping[str, NDArray[np.generic]], *, entry: str | None = None
) -> list[tuple[str, str, float]]:
    """What each operator of a file takes, as its runtime's profiler says: name, kind and milliseconds of an inference.

    Empty where the runtime has none; in a child only.
    """
    module = importlib.import_module(f"edgekit.toolchains.{name}.session")
    if not hasattr(module, "profile"):
        return []
    found: list[tuple[str, str, float]] = module.profile(file, options, inputs, **_by_name(name, file, entry))
    return found


def open_sessions(
    name: str, files: Mapping[str, PathLike[str]], options: Options, entries: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Session]:
    """Open every part's file in its runtime; ``entries`` are those of parts that are one of several in their file."""
    return {part: open_session(name, Path(file), options, entry=entries.get(part)) for part, file in files.items()}


def shortens_names(name: str) -> bool:
    """Whether names take room in files of a toolchain's format."""
    return importlib.util.find_spec(f"edgekit.toolchains.{name}.compact") is not None


def compact(name: str, file: Path, folder: Path) -> Names | None:
    """Write a file smaller than it is into an empty folder; None where it stays as it is. In a child only."""
    made: Names | None = importlib.import_module(f"edgekit.toolchains.{name}.compact").compact(file, folder)
    return made


def for_file(path: Path) -> str:
    """The toolchain of a model file by its ending."""
    endings = {ending: name for name in names() if (ending := getattr(facts(name), "ENDING", None))}
    if path.suffix not in endings:
        raise UsageError(f"{path.name} has no known ending; known: {', '.join(endings)}", hint="Pass --toolchain NAME.")
    return endings[path.suffix]
