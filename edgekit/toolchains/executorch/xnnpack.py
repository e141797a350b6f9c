"""Reading what the XNNPACK delegate was given: values, operators, constants.

The schema is ExecuTorch's ``backends/xnnpack/serialization/runtime_schema.fbs`` (identifiers XN00 and XN01), the
header before it ``XNNHeader`` in ``xnnpack_graph_serialize.py``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.toolchains.executorch.flatbuffer import BadBytesError, Table, root

ID = "XnnpackBackend"
_HEADER = struct.Struct("<4s4sHIIIQ")
_ABSENT = 2**64 - 1

#: XNNDatatype -> NumPy's name, bytes per element, whether numbers are scaled integers.
_TYPES: dict[int, tuple[str, float, bool]] = {
    1: ("float32", 4, False), 2: ("float16", 2, False), 3: ("int8", 1, True), 4: ("uint8", 1, True),
    5: ("int32", 4, True), 6: ("int8", 1, True), 7: ("int32", 4, True), 8: ("int4", 0.5, True),
    9: ("int8", 1, True), 10: ("int4", 0.5, True), 11: ("int8", 1, True), 12: ("int32", 4, False),
    13: ("float32", 4, False), 14: ("bfloat16", 2, False),
}  # fmt: skip
#: XNNDatatypes whose scale is found at run time, per row.
_DYNAMIC = (9, 11)

#: int4 is stored from 0 to 15, two numbers in a byte, the first in its lower half.
_INT4_ZERO = 8

#: Flags of values that are inputs or outputs of their delegate.
_EXTERNAL = 1 | 2

#: XNodeUnion in the schema's order, from 1: an operator's name, and the fields of its inputs and of its output.
_ONE, _TWO = ((0,), 1), ((0, 1), 2)
_CONV, _POOL, _CAT = ((15, 16, 17), 18), ((10,), 11), ((1, 2, 3, 4, 7), 5)
_NODES: tuple[tuple[str, tuple[tuple[int, ...], int]], ...] = (
    ("Add", _TWO), ("FullyConnected", ((0, 1, 2), 3)), ("Softmax", _ONE), ("Sigmoid", _ONE),
    ("StaticTranspose", ((2,), 3)), ("Clamp", _ONE), ("Conv2d", _CONV), ("Div", _TWO),
    ("StaticResizeBilinear2D", ((2,), 3)), ("StaticConstantPad", ((3,), 4)), ("AvgPooling2d", _POOL),
    ("Minimum", _TWO), ("DepthwiseConv2d", _CONV), ("MaxPooling2d", _POOL), ("Multiply", _TWO), ("Subtract", _TWO),
    ("Floor", _ONE), ("Convert", _ONE), ("GlobalAvgPooling2d", _ONE), ("StaticReshape", ((2,), 3)),
    ("ArgMaxPooling2d", ((6,), 7)), ("SquareRoot", _ONE), ("Ceiling", _ONE), ("Hardswish", _ONE),
    ("LeakyReLU", ((1,), 2)), ("Maximum", _TWO), ("Negate", _ONE), ("Square", _ONE), ("ELU", ((1,), 2)),
    ("Abs", _ONE), ("PReLU", _TWO), ("Concatenate2", _CAT), ("Concatenate3", _CAT), ("Concatenate4", _CAT),
    ("StaticSlice", ((3,), 4)), ("ScaledDotProductAttention", ((0, 1, 2, 3, 4), 5)),
    ("BatchMatrixMultiply", _TWO), ("Concatenate5", _CAT), ("ConvTranspose2d", _CONV),
    ("ReciprocalSquareRoot", _ONE), ("Log", _ONE), ("Gelu", _ONE), ("Tanh", _ONE), ("Exp", _ONE), ("Sin", _ONE),
    ("Copy", _ONE), ("Cos", _ONE),
)  # fmt: skip

#: Operators whose results are values of their input, which their kernels copy.
_MOVING = ("StaticSlice", "StaticReshape", "StaticTranspose", "StaticConstantPad", "MaxPooling2d", "Copy")


@dataclass(frozen=True)
class Value:
    """A tensor inside a delegate.

    Attributes:
        type: NumPy's name of the stored element type.
        bytes_each: per element (0.5 for int4).
        scaled: whether integers stand for real numbers by a scale.
        dynamic: whether that scale is found at run time.
        constant: the stored bytes; None where it is computed.
        key: what tells the constant from others of the file: equal keys are one constant.
        scales: scale per tensor or per channel, as far as stored.
        number: of the value in its delegate.
        argument: of the delegate's call, where it comes from outside or goes there.
        zero_point: the integer that stands for zero.
        block: elements of a row that share a scale; 0 where one is for a row or more.
    """

    shape: tuple[int, ...]
    type: str
    bytes_each: float
    scaled: bool
    dynamic: bool
    constant: bytes | None
    key: str
    scales: tuple[float, ...]
    number: int
    argument: int | None
    zero_point: int = 0
    block: int = 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def scale_count(self) -> int | None:
        """Number of scales; None of floats."""
        return None if not self.scaled else self.elements // self.block if self.block else max(len(self.scales), 1)

    def zero(self) -> NDArray[np.bool_] | None:
        """Where a constant is zero, of integers at their zero point; None where its rows are padded."""
        if self.constant is None or (self.bytes_each < 1 and (self.shape or (1,))[-1] % 2):
            return None
        stored = np.frombuffer(self.constant, np.uint8, math.ceil(self.elements * self.bytes_each))
        if self.bytes_each < 1:
            stored = np.stack([stored & 15, stored >> 4], -1)
        else:
            kind = "uint16" if self.type == "bfloat16" else self.type
            stored = stored.view(np.dtype(kind).newbyteorder("<"))
        return np.asarray(stored.reshape(self.shape) == self.zero_point)


@dataclass(frozen=True)
class Node:
    """An operator of a delegate; of a convolution with all input and output ``channels`` and its ``groups``."""

    type: str
    inputs: tuple[Value, ...]
    output: Value
    channels: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for anything but convolutions and matrix products."""
        filled = self.inputs[1] if len(self.inputs) > 1 else None
        match self.type:
            case "FullyConnected" if filled is not None:
                return self.output.elements // self.output.shape[-1] * filled.elements
            case "Conv2d" | "DepthwiseConv2d" if filled is not None:
                return self.output.elements // self.channels[1] * filled.elements
            case "ConvTranspose2d" if filled is not None:
                return self.inputs[0].elements // self.channels[0] * filled.elements
            case "BatchMatrixMultiply":
                first = self.inputs[0]
                return self.output.elements * (first.elements // (math.prod(first.shape[:-2]) * self.output.shape[-2]))
            case "ScaledDotProductAttention" if len(self.inputs) > 2:
                query, key, value = self.inputs[:3]
                return query.elements // query.shape[-1] * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        return 0

    @property
    def integer(self) -> bool:
        """Whether it computes on scaled integers, its weights as well; conversions do not compute."""
        data = [v for v in self.inputs if v.constant is None]
        weights = [v for v in self.inputs[1:2] if v.constant is not None and self.macs]
        return self.type != "Convert" and bool(data) and all(v.scaled for v in (*data, *weights))

    @property
    def agrees(self) -> bool:
        """Whether input and result are both integers or both not, of one scale where values are only moved."""
        before, after = self.inputs[0], self.output
        moved = before.scaled and self.type in _MOVING
        return before.scaled == after.scaled and (not moved or _grid_of(before) == _grid_of(after))


def _grid_of(value: Value) -> tuple[tuple[float, ...], int]:
    return value.scales, value.zero_point


def parse(payload: bytes, named: Mapping[str, bytes]) -> tuple[Node, ...]:
    """Read a delegate's payload; ``named`` are the program's shared constants. Raises ``BadBytesError``."""
    if len(payload) < _HEADER.size:
        raise BadBytesError(f"an XNNPACK payload has {len(payload)} bytes")
    _, magic, _, start, size, base, constants = _HEADER.unpack_from(payload)
    if magic != b"XH00":
        raise BadBytesError(f"an XNNPACK payload begins with {magic!r}")
    if start + size > len(payload) or base + constants > len(payload):
        raise BadBytesError(f"an XNNPACK payload of {len(payload)} bytes is cut off")
    flat = payload[start : start + size]
    graph = root(flat, flat[4:8] if flat[4:8] in (b"XN00", b"XN01") else b"XN01")
    stored = [_stored(t, payload, (base, base + constants), named) for t in graph.tables(8)]
    try:
        values = dict(_value(t, stored) for t in graph.tables(2))
        return tuple(_node(t, values) for t in graph.tables(1))
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise BadBytesError(f"an XNNPACK payload refers to what is not there: {error!r}") from error


def _stored(packed: Table, payload: bytes, limits: tuple[int, int], named: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Key and bytes of one constant; ``limits``: where in the payload constants begin and end."""
    offset, size, key = packed.number(0, "Q"), packed.number(1, "Q"), packed.text(2)
    if key:
        if key not in named:
            raise BadBytesError(
                f"the constant {key!r} is missing; it may lie in a .ptd file that is not beside this one"
            )
        return key, named[key]
    if offset in (_ABSENT, 0) and not size:
        return "", b""
    start, end = limits
    if start + offset + size > end:
        raise BadBytesError(f"a constant of {size} bytes at {offset} ends behind {end - start} bytes")
    return f"{id(payload)}:{offset}", payload[start + offset : start + offset + size]


def _value(packed: Table, stored: list[tuple[str, bytes]]) -> tuple[int, Value]:
    kind, value = packed.union(0)
    if kind not in (1, 2) or value is None:
        raise BadBytesError(f"a value of an XNNPACK payload has the unknown type {kind}")
    tensor = value.need(0) if kind == 2 else value
    scales, point, block = (_scales(value, stored), *_grid(value)) if kind == 2 else ((), 0, 0)
    number, constant = tensor.number(0, "h"), tensor.number(3, "I")
    if number not in _TYPES:
        raise BadBytesError(f"XNNPACK element type {number} is unknown")
    name, size, scaled = _TYPES[number]
    point = _INT4_ZERO if size < 1 else point
    key, content = stored[constant] if constant else ("", None)
    shape = tensor.numbers(2, "I")
    if content is not None and len(content) < math.floor(math.prod(shape) * size):
        raise BadBytesError(f"a constant of shape {shape} has only {len(content)} bytes")
    place = tensor.number(6, "I")
    argument = tensor.number(4, "I") if tensor.number(5, "I") & _EXTERNAL else None
    made = Value(shape, name, size, scaled, number in _DYNAMIC, content, key, scales, place, argument, point, block)
    return place, made


def _grid(packed: Table) -> tuple[int, int]:
    """Zero point, and how many elements of a row share a scale."""
    kind, parameters = packed.union(1)
    if parameters is None:
        return 0, 0
    return parameters.number(1, "i") if kind == 2 else 0, parameters.number(2, "i") if kind == 4 else 0


def _scales(packed: Table, stored: list[tuple[str, bytes]]) -> tuple[float, ...]:
    kind, parameters = packed.union(1)
    if parameters is None:
        return ()
    if kind == 2:
        return (parameters.real(0),)
    if kind not in (1, 4):
        return ()
    first, size = (2, 4) if kind == 1 else (4, 2)  # those of blocks are bfloat16: the upper half of a float32
    buffer, count = parameters.number(first, "I"), parameters.number(first + 1, "I")
    if not buffer:
        return tuple(float(x) for x in parameters.numbers(0, "f"))
    content = stored[buffer][1]
    if len(content) < size * count:
        raise BadBytesError(f"{count} scales have only {len(content)} bytes")
    if kind == 1:
        return struct.unpack_from(f"<{count}f", content)
    halves = np.frombuffer(content, "<u2", count).astype(np.uint32) << 16
    return tuple(halves.view(np.float32).tolist())


def _node(packed: Table, values: Mapping[int, Value]) -> Node:
    kind, table = packed.union(0)
    if table is None or not 0 < kind <= len(_NODES):
        raise BadBytesError(f"XNNPACK operator {kind} is unknown")
    name, (sources, target) = _NODES[kind - 1]
    ids = [table.number(field, "I") for field in sources]
    if name.startswith("Concatenate"):
        ids = ids[: int(name[-1])]
    # An operator without a bias has an id that no value has.
    inputs = tuple(values[i] for i in ids[:2]) + tuple(values[i] for i in ids[2:] if i in values)
    channels, groups = (0, 0), 1
    if sources == _CONV[0]:
        groups = table.number(12, "I")
        channels = (table.number(10, "I") * groups, table.number(11, "I") * groups)
    node = Node(name, inputs, values[table.number(target, "I")], channels, groups)
    _ = node.macs  # a shape that does not fit its operator raises here, where the payload is known to be bad
    return node
