"""Ranges of activations between a file and the model that is trained with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit import toolchains
from edgekit.compress.fakequant import chooser
from edgekit.data import plan as planning
from edgekit.frameworks.once import forget, load
from edgekit.proof import execution
from edgekit.scheme import Kind, Range, Rule, Scheme, tensors_of
from edgekit.signature import WHOLE, Signature
from edgekit.sources.source import Source
from edgekit.steps import File
from edgekit.toolchains import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples on which values are compared: of one, others could be equal by chance.
LOOK = 2
#: Where the values lie in the step's folder.
VALUES = "values.npz"


@dataclass(frozen=True)
class PlacesRequest:
    """A quantized file, the float file that it was made of, and samples.

    Attributes:
        toolchain: whose files.
        file: the quantized one.
        float_file: of which every tensor is the value of a graph.
        signature: the model's.
        samples: file of the samples.
    """

    toolchain: str
    file: File
    float_file: File
    signature: Signature
    samples: File


def found(folder: Path, request: PlacesRequest) -> tuple[Range, ...]:
    """The ranges of activations that a file has; writes the values of these tensors on a few samples."""
    there = toolchains.ranges_of(request.toolchain, Path(request.file))
    some = _some(request.signature, request.samples)
    return _written(
        folder, there, toolchains.values_of(request.toolchain, Path(request.float_file), tensors_of(there), some)
    )


@dataclass(frozen=True)
class GraphRequest:
    """A model whose files name no tensors, and the ranges that the quantizer gave to nodes of its graph.

    Attributes:
        toolchain: whose quantizer.
        source: the model.
        environment: kind of child.
        signature: the model's.
        ranges: by nodes.
        samples: file of the samples.
    """

    toolchain: str
    source: Source
    environment: str
    signature: Signature
    ranges: tuple[Range, ...]
    samples: File


def in_graph(folder: Path, request: GraphRequest) -> tuple[Range, ...]:
    """As ``found``, of a toolchain that quantizes a graph of the framework."""
    model = load(request.source, request.environment)
    names, some = tensors_of(request.ranges), _some(request.signature, request.samples)
    return _written(folder, request.ranges, toolchains.graph_values_of(request.toolchain, model, names, some))


def _some(signature: Signature, samples: File) -> dict[str, Rows]:
    """The first samples, as a run takes them."""
    rows = planning.rows_of(Path(samples))
    return {t.name: _First(rows[t.name].of_shape(t.shape)) for t in signature.inputs}


def _written(folder: Path, there: tuple[Range, ...], values: Mapping[str, Sequence[NDArray[Any]]]) -> tuple[Range, ...]:
    """Write values in the order of ``tensors_of``; returns the ranges that have some."""
    ranges = tuple(
        replace(one, unrounded=tuple(name for name in one.unrounded if name in values))
        for one in there
        if one.tensor in values
    )
    arrays = {str(number): np.stack(values[name]) for number, name in enumerate(tensors_of(ranges))}
    np.savez(folder / VALUES, **arrays)  # type: ignore[arg-type]
    return ranges


@dataclass(frozen=True)
class _First:
    """The first of some rows."""

    rows: Rows

    def __len__(self) -> int:
        return min(LOOK, len(self.rows))

    def __getitem__(self, row: int, /) -> NDArray[Any]:
        return self.rows[row]


@dataclass(frozen=True)
class RenamedRequest:
    """Float files of the same model with other weights, and ranges by the tensors of the first."""

    toolchain: str
    before: File
    after: File
    ranges: tuple[Range, ...]


def renamed(folder: Path, request: RenamedRequest) -> tuple[Range, ...]:
    """The ranges by the tensors of the second file; raises as ``toolchains.renamed``."""
    names = toolchains.renamed(request.toolchain, Path(request.before), Path(request.after))
    return tuple(one.called({name: names.get(name, name) for name in tensors_of([one])}) for one in request.ranges)


@dataclass(frozen=True)
class LostRequest:
    """A file, and the ranges that it was given."""

    toolchain: str
    file: File
    ranges: tuple[Range, ...]


def lost(folder: Path, request: LostRequest) -> tuple[str, ...]:
    """The tensors that have another range in a file than they were given, or none.

    Of a file that names no tensors: those whose range none has.
    """
    there = toolchains.ranges_of(request.toolchain, Path(request.file))
    named: dict[str, list[Range]] = {}
    for one in there:
        named.setdefault(one.tensor, []).append(one)
    nameless = not any(one.tensor in named for one in request.ranges)
    others = {one.tensor: there if nameless else named.get(one.tensor, ()) for one in request.ranges}
    return tuple(one.tensor for one in request.ranges if not any(_same(one, o) for o in others[one.tensor]))


def _same(one: Range, other: Range) -> bool:
    """Whether both mean the same steps, up to a rounding of the scale."""
    return bool(np.isclose(one.scale, other.scale, rtol=1e-5)) and one.zero_point == other.zero_point


@dataclass(frozen=True)
class OnStepsRequest:
    """A checkpoint whose activations are fake-quantized, and the samples that it is run on.

    Attributes:
        source: the model.
        environment: kind of child.
        ranges: by nodes of its graph.
        scheme: the target's, on whose grid the weights lie.
        kinds: of the layers that the target quantizes; empty for all.
        layers: what is said of single ones.
        biases: kinds of layers whose biases are integers, see ``toolchains.INTEGER_BIASES``.
        samples: file of the samples.
    """

    source: Source
    environment: str
    ranges: Mapping[str, Range]
    scheme: Scheme
    kinds: tuple[Kind, ...]
    layers: tuple[Rule, ...]
    biases: Mapping[Kind, int | None]
    samples: File


def on_steps(folder: Path, request: OnStepsRequest) -> None:
    """Run a checkpoint as training had it, with activations on their steps; writes what ``execution`` says."""
    from edgekit.compress import activations, biases

    model = load(request.source, request.environment)
    try:
        chosen = chooser(request.scheme, request.kinds, request.layers)
        module = activations.on_steps(model, request.ranges, _BATCH, biases.of_files(request.biases, chosen))
        fake = activations.as_loaded(model, module, _BATCH)
        execution.in_framework({WHOLE: fake}, Path(request.samples), None, folder)
    finally:
        forget()


_BATCH = 32
