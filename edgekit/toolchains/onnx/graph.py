"""An ONNX file with the lookups that counting and quantizing need."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.errors import DamagedFileError, UnsupportedError
from edgekit.sources.onnx_file import parts
from edgekit.toolchains._shared.messages import sentence
from edgekit.toolchains.onnx.shapes import inferred

QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
_INT8 = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4})

#: What reading and checking a damaged file raises; text that is not UTF-8 is found when it is looked at.
_BROKEN = (
    DecodeError,
    UnicodeDecodeError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    OSError,
    ValueError,  # a place in a file of weights that is no number
)


def load(file: Path) -> onnx.ModelProto:
    """Parse and check a file, the weights beside it included.

    Raises:
        DamagedFileError: truncated, altered, or no ONNX model.
        UnsafeInputError: weights are to be read from outside the file's folder.
        UnsupportedError: it is of a later version than the installed package knows, or calls too many functions.
    """
    with reading(file):
        model = onnx.load(file, load_external_data=False)
        _check_version(file, model)
        parts.check_functions(model, file.name)
        for tensor in parts.outside(model):
            _check_external(file, tensor)
        onnx.checker.check_model(str(file), full_check=True)
        onnx.load_external_data_for_model(model, str(file.parent))
        return onnx.inliner.inline_local_functions(model) if model.functions else model


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Raise ``DamagedFileError`` where the file turns out to be damaged, as late as when a name in it is looked at."""
    try:
        yield
    except _BROKEN as error:
        raise DamagedFileError(
            f"{file.name} is not a valid ONNX model: {sentence(error)}", hint="Convert again, or copy the file again."
        ) from error


def beside(file: Path) -> tuple[str, ...]:
    """The files of weights that a model names, relative to its folder."""
    outside = parts.outside(onnx.load(file, load_external_data=False))
    return tuple(sorted({e.value for tensor in outside for e in tensor.external_data if e.key == "location"}))


def _check_version(file: Path, model: onnx.ModelProto) -> None:
    """Say of a file of the future that it is one; the checker calls it wrong."""
    known = onnx.defs.onnx_opset_version()
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset > known or model.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"{file.name} is of opset {opset} and IR version {model.ir_version}; onnx {onnx.__version__} knows them up "
            f"to {known} and {onnx.IR_VERSION}",
            hint=f"Export it with opset_version={known} or below, or install a newer onnx.",
        )


def _check_external(file: Path, tensor: onnx.TensorProto) -> None:
    location, folder = parts.located(tensor, file.name), file.parent.resolve()
    path = (folder / location).resolve()
    if not path.is_relative_to(folder):
        raise parts.elsewhere(tensor, file.name)
    if not path.is_file():
        raise parts.not_there(path, file.name, location)
    parts.span(tensor, file.name, {location: path})


@dataclass(frozen=True)
class Body:
    """Where a graph lies that a loop or a branch runs.

    Attributes:
        graph: the body as the file has it.
        shapes: the same with inferred types and shapes.
        outer: the graph around it, whose values it sees.
        same: inputs that are the same in every trip: their names inside -> those of the values outside.
    """

    graph: onnx.GraphProto
    shapes: onnx.GraphProto
    outer: Graph
    same: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """A model's own graph, or a body in it."""

    model: onnx.ModelProto
    body: Body | None = None

    @property
    def graph(self) -> onnx.GraphProto:
        """The graph itself."""
        return self.body.graph if self.body else self.model.graph

    @cached_property
    def constants(self) -> dict[str, NDArray[np.generic]]:
        """Initializers and ``Constant`` nodes by name, those that a body sees outside included."""
        found = dict(self.body.outer.constants) if self.body else {}
        found |= {inner: found[name] for inner, name in self._same().items() if name in found}
        return found | self.own_constants

    @cached_property
    def own_constants(self) -> dict[str, NDArray[np.generic]]:
        """Those of this graph alone."""
        found = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        return found

    @cached_property
    def fixed(self) -> set[str]:
        """Names of all values that do not depend on an input, dequantized weights among them."""
        known = set(self.body.outer.fixed) if self.body else set()
        known |= {inner for inner, name in self._same().items() if name in known}
        known |= {t.name for t in self.graph.initializer}
        for node in self.graph.node:
            bodies = any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute)  # they read outer values unseen
            if not bodies and all(name in known for name in node.input if name):
                known.update(node.output)
        return known

    @cached_property
    def producer(self) -> dict[str, onnx.NodeProto]:
        """Node by output name."""
        found = dict(self.body.outer.producer) if self.body else {}
        found |= {inner: found[name] for inner, name in self._same().items() if name in found}
        return found | {output: node for node in self.graph.node for output in node.output}

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        """Nodes by input name."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def values(self) -> dict[str, onnx.TypeProto.Tensor]:
        """Inferred types and shapes by value name."""
        graph = self._shapes
        own = {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.input, *graph.output)}
        return {**self.body.outer.values, **own} if self.body else own

    @cached_property
    def _shapes(self) -> onnx.GraphProto:
        return self.body.shapes if self.body else inferred(self.model)

    def bodies(self, node: onnx.NodeProto) -> list[Graph]:
        """The graphs that a node runs: the body of a Loop or Scan, the branches of an If."""
        twin = self._shapes.node[next(i for i, n in enumerate(self.graph.node) if n is node)]
        pairs = zip(node.attribute, twin.attribute, strict=True)
        found = [(a.g, b.g) for a, b in pairs if a.type == onnx.AttributeProto.GRAPH]
        return [Graph(self.model, Body(graph, shapes, self, _invariant(node, graph))) for graph, shapes in found]

    def _same(self) -> Mapping[str, str]:
        return self.body.same if self.body else {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a value; empty where it is unknown, 1 for an axis without a size (a free batch is 1)."""
        if name in self.constants:
            return self.constants[name].shape
        if name in self.values:
            return tuple(d.dim_value if d.HasField("dim_value") else 1 for d in self.values[name].shape.dim)
        node = self.producer.get(name)
        return self.shape(node.input[0]) if node is not None and node.op_type in QDQ else ()

    def int8_behind(self, name: str) -> bool:
        """Whether a value is int8 or int4 itself, or dequantized from that (cut, transposed or reshaped at most).

        A constant may be dequantized by DequantizeLinear, or cast and multiplied with its scale.
        """
        name = self.source(name)
        node = self.producer.get(name)
        if node is not None and (node.op_type == "DequantizeLinear" or (node.op_type == "Cast" and name in self.fixed)):
            return self._is_int8(node.input[0])
        return self._is_int8(name)

    def source(self, name: str) -> str:
        """The value that one was made of by moving its elements, or some, or by multiplying a constant with its scale.

        ONNX Runtime moves a DequantizeLinear past all of these.
        """
        while (node := self.producer.get(name)) is not None:
            scaled = node.op_type == "Mul" and name in self.fixed
            if not scaled and node.op_type not in ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice"):
                break
            name = node.input[0]
        return name

    def _is_int8(self, name: str) -> bool:
        if name in self.constants:
            return self.constants[name].dtype.name in ("int8", "uint8", "int4", "uint4")
        return name in self.values and self.values[name].elem_type in _INT8


def carried(node: onnx.NodeProto, body: onnx.GraphProto) -> list[tuple[str, str, str]]:
    """What a loop hands from trip to trip: its name inside, the value before the first trip, and the one after each.

    A Loop begins with its trip count and condition, its body with the number of the trip and the condition, and gives
    the condition first; a Scan has what it takes apart behind the states.
    """
    inputs, outputs = [value.name for value in body.input], [value.name for value in body.output]
    if node.op_type == "Loop":
        return list(zip(inputs[2:], node.input[2:], outputs[1:], strict=False))
    if node.op_type == "Scan":
        parts = next(a.i for a in node.attribute if a.name == "num_scan_inputs")
        return list(zip(inputs[: len(inputs) - parts], node.input, outputs, strict=False))
    return []


def _invariant(node: onnx.NodeProto, body: onnx.GraphProto) -> dict[str, str]:
    """Inputs of a loop's body that it hands on unchanged: weights, where the exporter made them a part of the state."""
    return {inside: outside for inside, outside, after in carried(node, body) if inside == after}
