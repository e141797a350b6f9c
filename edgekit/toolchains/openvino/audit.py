"""What is inside an OpenVINO IR, read from the files; nothing is compiled or executed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from edgekit.candidate import Audit, IOTensor
from edgekit.toolchains.openvino.ir import read_checked
from edgekit.toolchains.openvino.quantize import RECURRENT

_INT8 = (ov.Type.i8, ov.Type.u8)
_NAMES = {
    "f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i8": "int8", "u8": "uint8",
    "i32": "int32", "i64": "int64", "boolean": "bool", "i4": "int4", "u4": "uint4",
}  # fmt: skip
#: Operators that move values without changing them: quantized where their source is.
_MOVES = frozenset(
    (
        "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "Slice", "StridedSlice", "Gather",
        "Concat", "MaxPool", "Broadcast", "Tile", "ReverseSequence", "Reverse", "Relu",
    )
)  # fmt: skip
#: Operators besides products that the CPU plugin computes on int8 inputs.
_INTEGER = frozenset(("Add", "Multiply", "AvgPool", "ReduceMean", "Interpolate"))
_PRODUCTS: dict[str, tuple[int, ...]] = {
    "Convolution": (0, 1),
    "GroupConvolution": (0, 1),
    "ConvolutionBackpropData": (0, 1),
    "GroupConvolutionBackpropData": (0, 1),
    "MatMul": (0, 1),
    "ScaledDotProductAttention": (0, 1, 2),
    "Einsum": (0, 1),
    **{kind: (0, *positions) for kind, positions in RECURRENT.items()},
}
_MOST_NAMES = 20


def audit(file: Path) -> Audit:
    """Count what a file holds and check it statically; see ``Audit``.

    ``FakeQuantize`` and the chain that restores compressed weights are annotations and not counted as operators. In
    a file whose activations have no static ranges, products of two activations carry no weights and are left out of
    ``macs_total``.

    Raises:
        DamagedFileError: see ``read_checked``.
    """
    return _Reading(read_checked(file)).audit()


class _Reading:
    """A model with what is known of each of its values."""

    def __init__(self, model: ov.Model) -> None:
        self.model = model
        self.nodes = list(_all_ops(model))
        self.fixed: set[int] = set()
        for node in self.nodes:
            kind = node.get_type_name()
            if kind == "Constant" or (node.input_values() and all(self._is_fixed(v) for v in node.input_values())):
                self.fixed.add(id_of(node))
        self.static = any(n.get_type_name() == "FakeQuantize" and not self._is_fixed(n.output(0)) for n in self.nodes)
        self.compressed = any(n.get_type_name() == "Constant" and n.get_element_type() in _INT8 for n in self.nodes)

    def _is_fixed(self, value: Any) -> bool:
        return id_of(value.get_node()) in self.fixed

    def operators(self) -> list[Any]:
        """Nodes that compute something from an input."""
        skipped = ("Parameter", "Result", "FakeQuantize")
        return [n for n in self.nodes if id_of(n) not in self.fixed and n.get_type_name() not in skipped]

    def quantized(self, value: Any) -> bool:
        """Whether a value has int8 behind it: stored so, or put on a grid of at most 256 levels."""
        node = value.get_node()
        kind = node.get_type_name()
        if self._is_fixed(value):
            return self._stored_in_int8(value)
        if kind == "FakeQuantize":
            return int(node.get_attributes()["levels"]) <= 256
        if kind in _MOVES:
            moved = node.input_values() if kind == "Concat" else node.input_values()[:1]
            return all(self.quantized(v) for v in moved)
        return False

    def _stored_in_int8(self, value: Any) -> bool:
        node = value.get_node()
        if node.get_type_name() == "Constant":
            return node.get_element_type() in _INT8
        if node.get_type_name() == "FakeQuantize":
            return int(node.get_attributes()["levels"]) <= 256
        return bool(node.input_values()) and self._stored_in_int8(node.input_value(0))

    def audit(self) -> Audit:
        """Count everything."""
        operators = self.operators()
        elements, sizes = self._weights()
        total = done = 0
        floats: list[str] = []
        for node in operators:
            macs, has_weights, counted, in_float = self._product(node)
            if has_weights or self.static or not self.compressed:
                total += macs
                done += macs if counted else 0
            if in_float:
                floats.append(f"{node.get_type_name()}:{node.get_friendly_name()}")
        activations = Counter(_type(v) for n in operators for v in n.outputs())
        return Audit(
            inputs=tuple(_tensor(p) for p in self.model.inputs),
            outputs=tuple(_tensor(p) for p in self.model.outputs),
            weight_bytes=dict(sizes),
            weight_elements=dict(elements),
            activation_types=dict(activations),
            ops_total=len(operators),
            ops_quantized=sum(self._is_quantized(n) for n in operators),
            macs_total=total,
            macs_quantized=done,
            float_ops=tuple(floats[:_MOST_NAMES]),
            transposes=sum(n.get_type_name() == "Transpose" for n in operators),
            findings=tuple(self._findings()),
        )

    def _weights(self) -> tuple[Counter[str], Counter[str]]:
        """Elements and bytes of constants per type; ranges, scales, zero points and shapes are not weights."""
        elements: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        parameters = {id_of(v.get_node()) for v in self._parameters()}
        for node in self.nodes:
            kind = node.get_element_type().get_type_name() if node.get_type_name() == "Constant" else ""
            if kind and kind not in ("i64", "i32", "boolean") and id_of(node) not in parameters and node.shape:
                elements[_NAMES.get(kind, kind)] += math.prod(node.shape)
                sizes[_NAMES.get(kind, kind)] += node.get_byte_size()
        return elements, sizes

    def _parameters(self) -> Iterator[Any]:
        """Constants that say how others are to be read."""
        for node in self.nodes:
            kind = node.get_type_name()
            if kind == "FakeQuantize":
                yield from (_behind(v) for v in node.input_values()[1:])
            elif kind in ("Multiply", "Subtract") and id_of(node) in self.fixed:
                yield _behind(node.input_value(1))

    def _product(self, node: Any) -> tuple[int, bool, bool, bool]:
        """MACs; whether it has weights; whether they count as quantized; whether anything in it stayed float."""
        kind = node.get_type_name()
        if kind == "Gather" and self._is_fixed(node.input_value(0)):
            table = node.input_value(0)
            in_float = len(table.shape) > 1 and table.element_type.is_real() and not self._stored_in_int8(table)
            return 0, True, False, in_float
        if kind not in _PRODUCTS:
            return 0, False, False, False
        data = [node.input_value(p) for p in _PRODUCTS[kind]]
        weights = [v for v in data if self._is_fixed(v)]
        int8 = [self.quantized(v) for v in data]
        stored = bool(weights) and all(self.quantized(v) for v in weights)
        return _macs(node, data), bool(weights), all(int8) if self.static else stored, bool(weights) and not all(int8)

    def _is_quantized(self, node: Any) -> bool:
        """Whether it computes on int8 values, or merely moves them."""
        kind = node.get_type_name()
        if kind in _PRODUCTS:
            return all(self.quantized(node.input_value(p)) for p in _PRODUCTS[kind])
        if kind in _INTEGER:
            return all(self.quantized(v) for v in node.input_values() if not self._is_fixed(v))
        return kind in _MOVES and self.quantized(node.output(0))

    def _findings(self) -> Iterator[str]:
        for node in self.nodes:
            if node.get_type_name() != "Constant" or not node.get_element_type().is_real():
                continue
            if np.isnan(node.get_data()).any():
                yield f"the constant {node.get_friendly_name()!r} holds NaN"
        for value in self._parameters():
            node = value.get_node()
            scaling = any(t.get_node().get_type_name() == "Multiply" for t in _readers(node))
            if node.get_type_name() == "Constant" and scaling and not np.isfinite(node.get_data()).all():
                yield f"the scale {node.get_friendly_name()!r} is not finite"


def id_of(node: Any) -> int:
    """A node's identity; Python objects of one node differ from call to call."""
    return hash((node.get_name(), node.get_type_name()))


def _all_ops(model: ov.Model) -> Iterator[Any]:
    """Nodes in topological order."""
    yield from model.get_ordered_ops()


def _readers(node: Any) -> list[Any]:
    """Inputs that read a node, conversions skipped."""
    found = []
    for target in node.output(0).get_target_inputs():
        reader = target.get_node()
        found += _readers(reader) if reader.get_type_name() == "Convert" else [target]
    return found


def _behind(value: Any) -> Any:
    while value.get_node().get_type_name() in ("Convert", "Reshape"):
        value = value.get_node().input_value(0)
    return value


def _macs(node: Any, data: list[Any]) -> int:
    kind = node.get_type_name()
    first, second = tuple(data[0].shape), tuple(data[1].shape)
    if kind == "Convolution":
        return math.prod(node.output(0).shape) * math.prod(second[1:])
    if kind == "GroupConvolution":
        return math.prod(node.output(0).shape) * math.prod(second[2:])
    if kind == "ConvolutionBackpropData":
        return math.prod(first) * math.prod(second[1:])
    if kind == "GroupConvolutionBackpropData":
        return math.prod(first) * math.prod(second[2:])
    if kind == "ScaledDotProductAttention":
        return math.prod(first[:-1]) * second[-2] * (first[-1] + tuple(data[2].shape)[-1])
    if kind == "MatMul":
        turned = node.get_attributes()["transpose_a"] and len(first) > 1
        return math.prod(node.output(0).shape) * first[-2 if turned else -1]
    if kind == "Einsum":
        equation = node.get_attributes()["equation"].replace(" ", "").split("->")[0]
        sizes: dict[str, int] = {}
        for term, value in zip(equation.split(","), data, strict=True):
            sizes.update(zip(term, value.shape, strict=True))
        return math.prod(sizes.values())
    steps = math.prod(first[:2]) if kind.endswith("Sequence") else first[0]
    return steps * sum(math.prod(value.shape) for value in data[1:])


def _type(port: Any) -> str:
    name = port.get_element_type().get_type_name()
    return _NAMES.get(name, name)


def _tensor(port: Any) -> IOTensor:
    shape = tuple(-1 if d.is_dynamic else d.get_length() for d in port.partial_shape)
    return IOTensor(port.any_name, shape, _type(port))
