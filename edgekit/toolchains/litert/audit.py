"""What is really inside a .tflite file, read from its tables; nothing is executed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import DamagedFileError
from edgekit.toolchains import Audit, IOTensor
from edgekit.toolchains.litert.schema import UNREADABLE, damaged, packed_model

INTEGERS = frozenset({"int2", "int4", "uint4", "int8", "uint8", "int16"})
FLOATS = frozenset({"float32", "float16", "bfloat16", "float64"})

#: Operators that carry weights: which operands, and which of them is the bias (None: the operator has none).
WEIGHTS: dict[str, tuple[tuple[int, ...], int | None]] = {
    "CONV_2D": ((1,), 2),
    "DEPTHWISE_CONV_2D": ((1,), 2),
    "CONV_3D": ((1,), 2),
    "TRANSPOSE_CONV": ((1,), 3),
    "FULLY_CONNECTED": ((1,), 2),
    "BATCH_MATMUL": ((0, 1), None),
    "EMBEDDING_LOOKUP": ((1,), None),
    "GATHER": ((0,), None),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ((*range(1, 12), 16), None),
    "UNIDIRECTIONAL_SEQUENCE_RNN": ((1, 2), 3),
}
#: Operand that carries the activations, where it is not the first.
ACTIVATION = {"TRANSPOSE_CONV": 2}
#: Operators whose weights LiteRT's specification wants per output channel, and the axis.
PER_CHANNEL = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}
#: int8 weights are symmetric and a bias is stored at input scale x weight scale: TensorFlow Lite 8-bit
#: quantization specification. The tolerance covers the rounding of float32 scales.
BIAS_TOLERANCE = 1e-3
MOST_NAMED = 20
#: Operators that change types or move numbers and compute nothing.
NO_ARITHMETIC = frozenset((
    "QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "TRANSPOSE", "REVERSE_V2", "SLICE", "STRIDED_SLICE", "SPLIT",
    "SPLIT_V", "PACK", "UNPACK", "CONCATENATION", "GATHER", "GATHER_ND", "EXPAND_DIMS", "SQUEEZE", "TILE",
    "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "BROADCAST_TO",
))  # fmt: skip
#: Operators without an integer kernel in LiteRT 2.3, and those without one for int16 (the lookup in an int8 table
#: gives float numbers).
FLOAT_ONLY = frozenset({"NEG", "EMBEDDING_LOOKUP"})
FLOAT_ONLY_INT16 = FLOAT_ONLY | {"SQUARED_DIFFERENCE"}


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file; ``data`` is None where it is computed at run time."""

    name: str
    shape: tuple[int, ...]
    type: str
    scales: np.ndarray[Any, Any]
    zero_points: np.ndarray[Any, Any]
    data: np.ndarray[Any, Any] | None
    buffer: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Op:
    """An operator with its operands; a constant behind a DEQUANTIZE stands for itself (``stored``)."""

    type: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    stored: tuple[Tensor | None, ...]
    custom: str = ""

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


def audit(file: Path) -> Audit:
    """Read a .tflite file's types, weights, operators and multiply-accumulates.

    A body of WHILE is counted once, its number of turns being unknown. A DEQUANTIZE of a constant is storage and not
    an operator. Operators with int8 weights and float activations (dynamic range) count as quantized
    multiply-accumulates, except in a file whose other operators have integer activations.

    Raises:
        DamagedFileError: the file is not a whole .tflite model.
    """
    if not file.is_file():
        raise damaged(file, "there is no such file")
    content = file.read_bytes()
    packed = packed_model(content, file)
    try:
        subgraphs = list(read_subgraphs(packed))
        inputs, outputs = _signature(packed)
        ops = [op for ops, _ in subgraphs for op in ops]
        return _summary(ops, [t for _, tensors in subgraphs for t in tensors], inputs, outputs)
    except DamagedFileError:
        raise
    except UNREADABLE as error:
        raise damaged(file, f"{type(error).__name__}: {error}") from error


def _summary(
    ops: list[Op], tensors: list[Tensor], inputs: tuple[IOTensor, ...], outputs: tuple[IOTensor, ...]
) -> Audit:
    weights = _constants(ops)
    static = any(_integer_arithmetic(op) for op in ops if op.type in WEIGHTS and op.type != "GATHER")
    macs = [(macs_of(op), _quantized_macs(op, static)) for op in ops]
    in_float = Counter(op.type for op in ops if op.type not in NO_ARITHMETIC and _touches_float(op))
    int16 = any(t.type == "int16" for t in tensors)
    bytes_, elements = Counter[str](), Counter[str]()
    for tensor in weights:
        elements[tensor.type] += tensor.elements
        bytes_[tensor.type] += 0 if tensor.data is None else tensor.data.nbytes
    return Audit(
        inputs=inputs,
        outputs=outputs,
        weight_bytes=dict(sorted(bytes_.items())),
        weight_elements=dict(sorted(elements.items())),
        activation_types=dict(sorted(Counter(t.type for t in tensors if t.data is None).items())),
        ops_total=len(ops),
        ops_quantized=sum(_integer_arithmetic(op) for op in ops),
        macs_total=sum(n for n, _ in macs),
        macs_quantized=sum(n for n, quantized in macs if quantized),
        float_ops=tuple(op.name for op in ops if _float(op, static))[:MOST_NAMED],
        ops_float=dict(sorted(in_float.items())),
        ops_float_only=tuple(sorted(in_float.keys() & (FLOAT_ONLY_INT16 if int16 else FLOAT_ONLY))),
        transposes=sum(op.type == "TRANSPOSE" for op in ops),
        findings=tuple(dict.fromkeys(_findings(ops, tensors))),
    )


def _constants(ops: list[Op]) -> list[Tensor]:
    """Constants of weight-carrying operators, biases included, each buffer once (operators share them)."""
    found = {}
    for op in ops:
        if op.type in WEIGHTS and op.weights():
            bias = op.bias()
            for tensor in [*op.weights(), *([bias] if bias else [])]:
                found[tensor.buffer] = tensor
    return list(found.values())


def macs_of(op: Op) -> int:
    """Multiply-accumulates of one operator: convolutions, matrix products, fused LSTM; 0 for others."""
    weights = op.inputs[1] if len(op.inputs) > 1 else None
    if weights is None or not op.outputs:
        return 0
    out = op.outputs[0]
    match op.type:
        case "CONV_2D" | "CONV_3D" | "DEPTHWISE_CONV_2D":
            return out.elements // out.shape[-1] * weights.elements
        case "TRANSPOSE_CONV":
            source = op.inputs[2]
            return source.elements // source.shape[-1] * weights.elements if source else 0
        case "FULLY_CONNECTED":
            return out.elements * weights.shape[-1]
        case "BATCH_MATMUL":
            left = op.inputs[0]
            return left.elements * out.shape[-1] if left else 0
        case "UNIDIRECTIONAL_SEQUENCE_LSTM" | "UNIDIRECTIONAL_SEQUENCE_RNN":
            steps = op.inputs[0]
            matrices = sum(t.elements for t in op.weights() if len(t.shape) == 2)
            return math.prod(steps.shape[:-1]) * matrices if steps else 0
        case _:
            return 0


def _touches_float(op: Op) -> bool:
    return any(t is not None and t.type in FLOATS for t in (*op.inputs, *op.outputs))


def _integer_arithmetic(op: Op) -> bool:
    """Whether every operand and result that holds numbers is a scaled integer."""
    if op.type in ("QUANTIZE", "DEQUANTIZE") or _touches_float(op):
        return False
    seen = [t for t in (*op.inputs, *op.outputs) if t is not None]
    return any(t.type in INTEGERS and len(t.scales) for t in seen)


def _quantized_macs(op: Op, static: bool) -> bool:
    if _integer_arithmetic(op):
        return True
    return not static and _hybrid(op)


def _hybrid(op: Op) -> bool:
    """Float activations on integer weights, quantized by the kernel at run time."""
    direct = [t for t in op.weights() if any(t is i for i in op.inputs)]
    return bool(direct) and all(t.type in INTEGERS for t in direct)


def _float(op: Op, static: bool) -> bool:
    """Whether a weight-carrying operator stayed in float."""
    if op.type not in WEIGHTS or not (op.weights() or macs_of(op)):
        return False
    return not _quantized_macs(op, static)


def _findings(ops: list[Op], tensors: list[Tensor]) -> Iterator[str]:
    for op in ops:
        if op.custom.startswith("Flex"):
            yield f"{op.custom} needs SELECT_TF_OPS (Flex) and does not run in LiteRT"
        elif op.custom:
            yield f"custom operator {op.custom} does not run in LiteRT without its own kernel"
        yield from _weight_findings(op)
        yield from _bias_findings(op)
    for tensor in tensors:
        if not (np.isfinite(tensor.scales).all() and (tensor.scales > 0).all()):
            yield f"tensor {tensor.name} has a scale that is zero, negative or not finite"


def _weight_findings(op: Op) -> Iterator[str]:
    for weights in op.weights():
        if weights.type == "float32" and weights.data is not None and not np.isfinite(weights.data.view("<f4")).all():
            yield f"{op.name}: weights hold NaN or infinity"
        if weights.type != "int8":
            continue
        if op.type != "GATHER" and len(weights.zero_points) and weights.zero_points.any():
            yield f"{op.name}: int8 weights have a zero point other than 0"
        axis = PER_CHANNEL.get(op.type)
        if axis is not None and weights.shape[axis] > 1 and len(weights.scales) != weights.shape[axis]:
            yield f"{op.name}: weights have {len(weights.scales)} scales for {weights.shape[axis]} channels"


def _bias_findings(op: Op) -> Iterator[str]:
    """A bias at another scale than input x weight is silently wrong: the kernel adds it to the accumulator as is."""
    bias, source, weights = op.bias(), op.activation(), op.weights()
    if bias is None or source is None or not weights or bias.type not in ("int32", "int64"):
        return
    if bias.data is None or not bias.data.any():
        return  # a bias of zeros is right at any scale, and converters share one between operators
    if not (len(bias.scales) and len(source.scales) and len(weights[0].scales)):
        return
    ratio = bias.scales / (source.scales * weights[0].scales)
    worst = float(np.abs(ratio - 1).max())
    if not worst <= BIAS_TOLERANCE:
        yield f"{op.name}: bias scale differs from input scale x weight scale by {worst:.1%}"


def read_subgraphs(packed: Any) -> Iterator[tuple[list[Op], list[Tensor]]]:
    """Operators, and the tensors that they touch, of each subgraph of a root table."""
    if packed.SubgraphsLength() == 0:
        raise IndexError("the model has no subgraph")
    codes = [_code(packed.OperatorCodes(i)) for i in range(packed.OperatorCodesLength())]
    for index in range(packed.SubgraphsLength()):
        graph = packed.Subgraphs(index)
        tensors = [_tensor(packed, graph.Tensors(i)) for i in range(graph.TensorsLength())]
        stored: dict[int, Tensor] = {}
        ops = []
        for position in range(graph.OperatorsLength()):
            packed_op = graph.Operators(position)
            type_, custom = codes[packed_op.OpcodeIndex()]
            ins = [packed_op.Inputs(i) for i in range(packed_op.InputsLength())]
            outs = [packed_op.Outputs(i) for i in range(packed_op.OutputsLength())]
            if type_ == "DEQUANTIZE" and tensors[ins[0]].data is not None:
                stored[outs[0]] = tensors[ins[0]]
                continue
            ops.append(
                Op(
                    type_,
                    tuple(tensors[i] if i >= 0 else None for i in ins),
                    tuple(tensors[i] for i in outs),
                    tuple(stored.get(i, tensors[i]) if i >= 0 else None for i in ins),
                    custom,
                )
            )
        used = {id(t) for op in ops for t in (*op.inputs, *op.outputs) if t is not None}
        widened = {id(tensors[i]) for i in stored}
        yield ops, [t for t in tensors if id(t) in used - widened]


def _code(packed: Any) -> tuple[str, str]:
    """Operator type and, for custom operators, its name."""
    number = max(packed.BuiltinCode(), packed.DeprecatedBuiltinCode())
    custom = packed.CustomCode()
    return _enum("BuiltinOperator")[number], custom.decode() if custom else ""


def _tensor(packed: Any, table: Any) -> Tensor:
    quantization = table.Quantization()
    scales, zero_points = np.empty(0, np.float32), np.empty(0, np.int64)
    if quantization is not None and quantization.ScaleLength():
        scales = np.asarray(quantization.ScaleAsNumpy(), np.float32)
        if quantization.ZeroPointLength():
            zero_points = np.asarray(quantization.ZeroPointAsNumpy(), np.int64)
    buffer = packed.Buffers(table.Buffer())
    data = buffer.DataAsNumpy() if buffer.DataLength() else None
    shape = tuple(int(table.Shape(i)) for i in range(table.ShapeLength()))
    return Tensor((table.Name() or b"").decode(), shape, _type(table.Type()), scales, zero_points, data, table.Buffer())


def _signature(packed: Any) -> tuple[tuple[IOTensor, ...], tuple[IOTensor, ...]]:
    """Inputs and outputs by the signature's names; by the tensors' own where the file has no signature."""
    graph = packed.Subgraphs(0)
    if packed.SignatureDefsLength():
        signature = packed.SignatureDefs(0)
        graph = packed.Subgraphs(signature.SubgraphIndex())
        pairs_in = [signature.Inputs(i) for i in range(signature.InputsLength())]
        pairs_out = [signature.Outputs(i) for i in range(signature.OutputsLength())]
        return (
            tuple(_io(packed, graph, p.TensorIndex(), p.Name().decode()) for p in pairs_in),
            tuple(_io(packed, graph, p.TensorIndex(), p.Name().decode()) for p in pairs_out),
        )
    return (
        tuple(_io(packed, graph, graph.Inputs(i)) for i in range(graph.InputsLength())),
        tuple(_io(packed, graph, graph.Outputs(i)) for i in range(graph.OutputsLength())),
    )


def _io(packed: Any, graph: Any, index: int, name: str = "") -> IOTensor:
    tensor = _tensor(packed, graph.Tensors(index))
    scaled = len(tensor.scales) == 1
    return IOTensor(
        name or tensor.name,
        tensor.shape,
        tensor.type,
        float(tensor.scales[0]) if scaled else None,
        int(tensor.zero_points[0]) if scaled and len(tensor.zero_points) else (0 if scaled else None),
    )


@cache
def _enum(name: str) -> dict[int, str]:
    """Names of a schema enumeration by value."""
    from ai_edge_litert import schema_py_generated as schema

    return {v: k for k, v in vars(getattr(schema, name)).items() if isinstance(v, int)}


def _type(number: int) -> str:
    """NumPy-like name of an element type."""
    return _enum("TensorType")[number].lower()
