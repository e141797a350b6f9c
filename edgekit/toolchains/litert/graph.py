"""Operators and tensors of a .tflite file, read from its tables."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edgekit.toolchains.litert.schema import stored

INTEGERS = frozenset({"int2", "int4", "uint4", "int8", "uint8", "int16"})
#: Types of which several elements lie in a byte, the first in its lowest bits.
_BITS = {"int2": 2, "int4": 4, "uint4": 4}
FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})

#: Operators that carry weights: which operands, and which of them is the bias (None: the operator has none).
WEIGHTS: dict[str, tuple[tuple[int, ...], int | None]] = {
    "CONV_2D": ((1,), 2),
    "DEPTHWISE_CONV_2D": ((1,), 2),
    "CONV_3D": ((1,), 2),
    "TRANSPOSE_CONV": ((1,), 3),
    "CONV_3D_TRANSPOSE": ((1,), 3),
    "FULLY_CONNECTED": ((1,), 2),
    "BATCH_MATMUL": ((0, 1), None),
    "EMBEDDING_LOOKUP": ((1,), None),
    "GATHER": ((0,), None),
    "LSTM": ((*range(1, 12), 16), None),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ((*range(1, 12), 16), None),
    "BIDIRECTIONAL_SEQUENCE_LSTM": ((*range(1, 12), 16, *range(18, 29), 33, *range(40, 48)), None),
    "RNN": ((1, 2), 3),
    "UNIDIRECTIONAL_SEQUENCE_RNN": ((1, 2), 3),
    "BIDIRECTIONAL_SEQUENCE_RNN": ((1, 2, 5, 6, 10, 11), None),
    "SVDF": ((1, 2), 3),
}
#: Recurrent layers as one operator: each matrix is used once per step.
RECURRENT = frozenset({"SVDF", *(kind for kind in WEIGHTS if kind.endswith(("LSTM", "RNN")))})
#: Which of a recurrent layer's operands are the matrices of its input; its other matrices are those of its state.
OF_INPUT = {
    "LSTM": range(1, 5),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": range(1, 5),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (*range(1, 5), *range(18, 22)),
    "RNN": (1,),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (1,),
    "BIDIRECTIONAL_SEQUENCE_RNN": (1, 5, 10, 11),
    "SVDF": (1,),
}
#: Operand that carries the activations, where it is not the first.
ACTIVATION = {"TRANSPOSE_CONV": 2, "CONV_3D_TRANSPOSE": 2}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file.

    Attributes:
        data: its bytes; None where it is computed at run time.
        axis: that scales and zero points belong to, where there are several.
        block: elements along the last axis that share a scale, where these lie in a tensor of their own; else 0.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scales: np.ndarray[Any, Any]
    zero_points: np.ndarray[Any, Any]
    data: np.ndarray[Any, Any] | None
    buffer: int
    axis: int = 0
    block: int = 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def scale_count(self) -> int | None:
        """Number of scales; None of floats."""
        return None if self.type in FLOATS else self.elements // self.block if self.block else len(self.scales)

    def zero(self) -> np.ndarray[Any, Any] | None:
        """Where a constant is zero, of integers at its zero point; None where it is not stored element by element."""
        values = self._values()
        if values is None or values.size < self.elements:
            return None
        points = self.zero_points if len(self.zero_points) else np.zeros(1, np.int64)
        if len(points) > 1:
            points = points.reshape([-1 if i == self.axis else 1 for i in range(len(self.shape))])
        found: np.ndarray[Any, Any] = values[: self.elements].reshape(self.shape) == points
        return found

    def _values(self) -> np.ndarray[Any, Any] | None:
        """The elements as stored, of bfloat16 without their sign."""
        if self.data is None:
            return None
        if self.type in _BITS:
            bits = _BITS[self.type]
            parts = self.data[:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & (2**bits - 1)
            numbers = parts.reshape(-1).astype(np.int8)
            return numbers if self.type[0] == "u" else numbers - ((numbers >> (bits - 1)) << bits).astype(np.int8)
        if self.type == "bfloat16":
            return self.data.view("<u2") & 0x7FFF
        return self.data.view(np.dtype(self.type).newbyteorder("<"))


@dataclass(frozen=True)
class Op:
    """An operator with its operands; a constant behind a DEQUANTIZE stands for itself (``stored``).

    ``bodies`` are the numbers of the subgraphs that it runs: condition and body of a WHILE, the branches of an IF.
    ``turned`` says of either factor of a BATCH_MATMUL whether its last two axes are swapped.
    """

    type: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    stored: tuple[Tensor | None, ...]
    custom: str = ""
    bodies: tuple[int, ...] = ()
    turned: tuple[bool, bool] = (False, False)

    @property
    def name(self) -> str:
        """``TYPE:name of the first output``."""
        return f"{self.type}:{self.outputs[0].name if self.outputs else ''}"

    def weights(self) -> list[Tensor]:
        """Constant operands that carry weights, biases left out."""
        operands = WEIGHTS.get(self.type, ((), None))[0]
        found = (self.stored[i] for i in operands if i < len(self.stored))
        return [t for t in found if t is not None and t.data is not None and t.type in INTEGERS | FLOATS]

    def bias(self) -> Tensor | None:
        """The constant bias; None where the operator has none."""
        at = WEIGHTS.get(self.type, ((), None))[1]
        found = self.stored[at] if at is not None and at < len(self.stored) else None
        return found if found is not None and found.data is not None else None

    def activation(self) -> Tensor | None:
        """The operand that the weights are multiplied with."""
        at = ACTIVATION.get(self.type, 0)
        return self.inputs[at] if at < len(self.inputs) else None


@dataclass(frozen=True)
class Subgraph:
    """Operators in the order in which they run, the tensors that they touch, and what goes in and out."""

    operators: list[Op]
    tensors: list[Tensor]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_subgraphs(packed: Any) -> Iterator[Subgraph]:
    """The subgraphs of a root table."""
    if packed.SubgraphsLength() == 0:
        raise IndexError("the model has no subgraph")
    codes = [code(packed.OperatorCodes(i)) for i in range(packed.OperatorCodesLength())]
    for index in range(packed.SubgraphsLength()):
        graph = packed.Subgraphs(index)
        tensors = [read_tensor(packed, graph.Tensors(i)) for i in range(graph.TensorsLength())]
        constants: dict[int, Tensor] = {}
        ops = []
        for position in range(graph.OperatorsLength()):
            packed_op = graph.Operators(position)
            type_, custom = codes[packed_op.OpcodeIndex()]
            ins = [packed_op.Inputs(i) for i in range(packed_op.InputsLength())]
            outs = [packed_op.Outputs(i) for i in range(packed_op.OutputsLength())]
            if type_ == "DEQUANTIZE" and tensors[ins[0]].data is not None:
                constants[outs[0]] = tensors[ins[0]]
                continue
            ops.append(
                Op(
                    type_,
                    tuple(tensors[i] if i >= 0 else None for i in ins),
                    tuple(tensors[i] for i in outs),
                    tuple(constants.get(i, tensors[i]) if i >= 0 else None for i in ins),
                    custom,
                    bodies(type_, packed_op),
                    _turned(type_, packed_op),
                )
            )
        used = {id(t) for op in ops for t in (*op.inputs, *op.outputs) if t is not None}
        widened = {id(tensors[i]) for i in constants}
        yield Subgraph(
            ops,
            [t for t in tensors if id(t) in used - widened],
            tuple(tensors[graph.Inputs(i)] for i in range(graph.InputsLength())),
            tuple(tensors[graph.Outputs(i)] for i in range(graph.OutputsLength())),
        )


def input_types(packed: Any) -> dict[str, str]:
    """Element types of what goes in, by the names of the first signature; by the tensors' own where there is none."""
    if packed.SignatureDefsLength():
        signature = packed.SignatureDefs(0)
        graph = packed.Subgraphs(signature.SubgraphIndex())
        pairs = (signature.Inputs(i) for i in range(signature.InputsLength()))
        named = [(pair.Name(), graph.Tensors(pair.TensorIndex())) for pair in pairs]
    else:
        graph = packed.Subgraphs(0)
        named = [(t.Name(), t) for t in (graph.Tensors(graph.Inputs(i)) for i in range(graph.InputsLength()))]
    return {name.decode(): _type(table.Type()) for name, table in named}


def bodies(kind: str, packed: Any) -> tuple[int, ...]:
    """Numbers of the subgraphs that an operator runs."""
    from ai_edge_litert import schema_py_generated as schema

    if kind not in ("WHILE", "IF"):
        return ()
    options: Any = (schema.WhileOptions if kind == "WHILE" else schema.IfOptions)()
    table = packed.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    if kind == "WHILE":
        return int(options.CondSubgraphIndex()), int(options.BodySubgraphIndex())
    return int(options.ThenSubgraphIndex()), int(options.ElseSubgraphIndex())


def _turned(kind: str, packed: Any) -> tuple[bool, bool]:
    from ai_edge_litert import schema_py_generated as schema

    table = packed.BuiltinOptions() if kind == "BATCH_MATMUL" else None
    if table is None:
        return False, False
    options = schema.BatchMatMulOptions()
    options.Init(table.Bytes, table.Pos)
    return bool(options.AdjX()), bool(options.AdjY())


def code(packed: Any) -> tuple[str, str]:
    """Operator type and, for custom operators, its name."""
    number = max(packed.BuiltinCode(), packed.DeprecatedBuiltinCode())
    custom = packed.CustomCode()
    return _enum("BuiltinOperator")[number], custom.decode() if custom else ""


def lowered_no_further(packed: Any) -> list[str]:
    """Operators of a file that are StableHLO's own, of which the interpreter runs some forms only."""
    kinds = (code(packed.OperatorCodes(i))[0] for i in range(packed.OperatorCodesLength()))
    return sorted({kind for kind in kinds if kind.startswith("STABLEHLO_")})


def read_tensor(packed: Any, table: Any) -> Tensor:
    """A tensor with its constant, wherever in the file that lies."""
    quantization = table.Quantization()
    scales, zero_points = np.empty(0, np.float32), np.empty(0, np.int64)
    axis = quantization.QuantizedDimension() if quantization is not None else 0
    if quantization is not None and quantization.ScaleLength():
        scales = np.asarray(quantization.ScaleAsNumpy(), np.float32)
        if quantization.ZeroPointLength():
            zero_points = np.asarray(quantization.ZeroPointAsNumpy(), np.int64)
    data = stored(packed, table.Buffer())
    shape = tuple(int(table.Shape(i)) for i in range(table.ShapeLength()))
    name, kind, block = (table.Name() or b"").decode(), _type(table.Type()), _block(quantization)
    return Tensor(name, shape, kind, scales, zero_points, data, table.Buffer(), axis, block)


def _block(quantization: Any) -> int:
    from ai_edge_litert import schema_py_generated as schema

    if quantization is None or quantization.DetailsType() != schema.QuantizationDetails.BlockwiseQuantization:
        return 0
    details, table = schema.BlockwiseQuantization(), quantization.Details()
    details.Init(table.Bytes, table.Pos)
    return int(details.BlockSize())


@cache
def _enum(name: str) -> dict[int, str]:
    """Names of a schema enumeration by value."""
    from ai_edge_litert import schema_py_generated as schema

    return {v: k for k, v in vars(getattr(schema, name)).items() if isinstance(v, int)}


def _type(number: int) -> str:
    """NumPy-like name of an element type."""
    return _enum("TensorType")[number].lower()
