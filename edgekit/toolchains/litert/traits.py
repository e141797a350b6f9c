"""A .tflite file as the graph that traits are found in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import DamagedFileError
from edgekit.toolchains._shared.traits import Body, Graph, Node, by_op
from edgekit.toolchains.litert.graph import bodies, code
from edgekit.toolchains.litert.schema import UNREADABLE, damaged, packed_model, stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KINDS = by_op({
    "matmul": ("FULLY_CONNECTED", "BATCH_MATMUL"),
    "conv": ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D"),
    "conv_transpose": ("TRANSPOSE_CONV",),
    "cell": (
        "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM",
        "RNN",
    ),
    "softmax": ("SOFTMAX",),
    "sigmoid": ("LOGISTIC",),
    "multiply": ("MUL",),
    "loop": ("WHILE",),
    "branch": ("IF",),
    "move": (
        "CAST", "RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V",
        "PACK", "UNPACK", "CONCATENATION", "TILE", "PAD", "PADV2", "BROADCAST_TO", "GATHER", "SELECT",
        "SELECT_V2",
    ),
})  # fmt: skip


def graph(file: Path) -> Graph:
    """Read a file; inputs and outputs are called by the signature's names.

    Raises:
        DamagedFileError: the file is not a whole .tflite model.
    """
    packed = packed_model(file.read_bytes(), file)
    try:
        reading = _Reading(packed)
        found = reading.subgraph(reading.main)
        inputs, outputs = reading.signature()
        renamed = {value: name for name, value in inputs.items()}
        nodes = [Node(**{**vars(n), "inputs": tuple(renamed.get(v, v) for v in n.inputs)}) for n in found.nodes]
        nodes += [Node("move", "output", (renamed.get(value, value),), (name,)) for name, value in outputs.items()]
        return Graph(tuple(nodes), found.constants)
    except DamagedFileError:
        raise
    except UNREADABLE as error:
        raise damaged(file, f"{type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Reading:
    """A root table; values are called ``subgraph:tensor``."""

    packed: Any

    @cached_property
    def main(self) -> int:
        """Number of the subgraph that the signature calls."""
        return self.packed.SignatureDefs(0).SubgraphIndex() if self.packed.SignatureDefsLength() else 0

    def signature(self) -> tuple[dict[str, str], dict[str, str]]:
        """The values behind the names of inputs and outputs."""
        if not self.packed.SignatureDefsLength():
            return {}, {}
        found = self.packed.SignatureDefs(0)
        inputs = [found.Inputs(i) for i in range(found.InputsLength())]
        outputs = [found.Outputs(i) for i in range(found.OutputsLength())]
        given, made = (
            {p.Name().decode(): f"{self.main}:{p.TensorIndex()}" for p in side} for side in (inputs, outputs)
        )
        return given, made

    def subgraph(self, number: int) -> Graph:
        """A subgraph with the bodies of its loops."""
        table = self.packed.Subgraphs(number)
        nodes = tuple(self._node(table, number, table.Operators(i)) for i in range(table.OperatorsLength()))
        constants = {}
        for index in range(table.TensorsLength()):
            if (data := self._data(table.Tensors(index))) is not None:
                constants[f"{number}:{index}"] = data
        return Graph(nodes, constants)

    def _data(self, tensor: Any) -> NDArray[np.generic] | None:
        from ai_edge_litert import schema_py_generated as schema

        if (data := stored(self.packed, tensor.Buffer())) is None:
            return None
        shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
        dtype = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT32: "<i4"}.get(tensor.Type())
        return data.view(dtype).reshape(shape) if dtype else data

    def _shape(self, table: Any, index: int) -> list[int]:
        tensor = table.Tensors(index)
        return [tensor.Shape(i) for i in range(tensor.ShapeLength())]

    def _node(self, table: Any, number: int, packed: Any) -> Node:
        op = self._names[packed.OpcodeIndex()]
        places = [packed.Inputs(i) for i in range(packed.InputsLength())]
        outputs = tuple(f"{number}:{packed.Outputs(i)}" for i in range(packed.OutputsLength()))
        if op == "TRANSPOSE_CONV":  # its shape comes first
            places = [places[2], places[1], *places[3:], places[0]]
        groups = channels = 1
        kind = _KINDS.get(op, "other")
        if kind == "conv":
            channels, each = self._shape(table, places[0])[-1], self._shape(table, places[1])[-1]
            # Weights hold the input channels of one group; those of a depthwise convolution have their channels last.
            groups = channels if op.startswith("DEPTHWISE") else channels // max(each, 1)
        inputs = tuple(f"{number}:{place}" for place in places if place >= 0)
        return Node(kind, op, inputs, outputs, groups, channels, tuple(self._bodies(op, packed, inputs)))

    @cached_property
    def _names(self) -> list[str]:
        return [code(self.packed.OperatorCodes(i))[0] for i in range(self.packed.OperatorCodesLength())]

    def _bodies(self, op: str, packed: Any, inputs: tuple[str, ...]) -> Iterator[Body]:
        loop = op == "WHILE"
        for number in bodies(op, packed)[1 if loop else 0 :]:  # a loop's condition comes first
            table = self.packed.Subgraphs(number)
            into = [f"{number}:{table.Inputs(i)}" for i in range(table.InputsLength())]
            out = [f"{number}:{table.Outputs(i)}" for i in range(table.OutputsLength())]
            inside = self.subgraph(number)
            again = tuple(zip(out, into, strict=True)) if loop else ()
            given = zip(into, inputs if loop else inputs[1:], strict=True)
            yield Body(Graph(inside.nodes, inside.constants, again), dict(given))
