"""What is inside an OpenVINO IR, read from the files; nothing is compiled or executed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import openvino as ov

from edgekit.result import IO, Inspected
from edgekit.toolchains._shared import products, rules
from edgekit.toolchains._shared.products import Product
from edgekit.toolchains._shared.rules import Found
from edgekit.toolchains.openvino import weights as constants
from edgekit.toolchains.openvino.export import LOOPS
from edgekit.toolchains.openvino.ir import read_checked
from edgekit.toolchains.openvino.loops import handed_in, shape, trips
from edgekit.toolchains.openvino.quantize import RECURRENT
from edgekit.toolchains.openvino.weights import behind, element_type

_INT8 = (ov.Type.i8, ov.Type.u8, ov.Type.i4, ov.Type.u4)
#: Operators that move values without changing them: quantized where their source is.
_MOVES = frozenset(
    (
        "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "Slice", "StridedSlice", "Gather",
        "Concat", "MaxPool", "Broadcast", "Tile", "ReverseSequence", "Reverse", "Relu",
    )
)  # fmt: skip
#: Operators besides products that the CPU plugin computes on int8 inputs.
_INTEGER = frozenset(("Add", "Multiply", "AvgPool", "ReduceMean", "Interpolate"))
#: Operator -> positions of its factors; none: all inputs.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    "Convolution": (0, 1),
    "GroupConvolution": (0, 1),
    "ConvolutionBackpropData": (0, 1),
    "GroupConvolutionBackpropData": (0, 1),
    "MatMul": (0, 1),
    "ScaledDotProductAttention": (0, 1, 2),
    "Einsum": (),
    **{kind: (0, *positions) for kind, positions in RECURRENT.items()},
}


def audit(file: Path) -> Inspected:
    """Count what a file holds and check it statically; see ``Audit``.

    ``FakeQuantize`` and the chain that restores compressed weights are annotations and not counted as operators.
    Products whose weights alone are int8 compute in float: ``session`` switches off that their activations are
    quantized at run time.

    Raises:
        DamagedFileError: see ``read_checked``.
    """
    weights = file.with_suffix(".bin")
    beside = (weights.name,) if weights.is_file() else ()
    return _Reading(read_checked(file)).audit().model_copy(update={"beside": beside})


def layers(model: ov.Model) -> list[Found[str]]:
    """The layers of a float model by their operators' names."""
    constants: dict[str, list[str]] = {}
    for node in model.get_ordered_ops():
        sources = [behind(value) for value in node.input_values()]
        stored = [source.get_friendly_name() for source in sources if source.get_type_name() == "Constant"]
        constants[node.get_friendly_name()] = stored
    return rules.of_layers(_Reading(model).audit().layers, constants)


class _Reading:
    """A model, or the body of a loop in it, with what is known of each of its values."""

    def __init__(
        self, model: ov.Model, outer: _Reading | None = None, same: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """``same``: parameters that are the same in every trip, with the values of ``outer`` that they stand for."""
        self.model, self.outer, self.same = model, outer, same
        self.nodes: list[Any] = list(model.get_ordered_ops())
        self.fixed = {name for name, value in same.items() if outer is not None and outer._is_fixed(value)}
        for node in self.nodes:
            values = node.input_values()
            if node.get_type_name() == "Constant" or (values and all(self._is_fixed(v) for v in values)):
                self.fixed.add(node.get_name())
        # The plugin lowers a model to int8 where activations are quantized anywhere in it.
        ranges = any(n.get_type_name() == "FakeQuantize" and n.get_name() not in self.fixed for n in self.nodes)
        self.static: bool = ranges or (outer is not None and outer.static)
        found = [n for n in self.nodes if n.get_type_name() in LOOPS]
        self.bodies = [(_Reading(n.get_function(), self, dict(handed_in(n))), trips(n)) for n in found]

    def audit(self) -> Inspected:
        """Count everything."""
        operators = self.operators()
        elements, sizes = self.weights()
        return Inspected(
            inputs=tuple(_tensor(p) for p in self.model.inputs),
            outputs=tuple(_tensor(p) for p in self.model.outputs),
            weight_bytes=dict(sizes),
            weight_elements=dict(elements),
            activation_types=dict(Counter(element_type(v) for n in operators for v in n.outputs())),
            ops_total=len(operators),
            ops_quantized=self.quantized(),
            **products.count(self.products()),
            transposes=sum(n.get_type_name() == "Transpose" for n in operators),
            findings=tuple(self._findings()),
        )

    def operators(self) -> list[Any]:
        """Nodes that compute something from an input; a loop's body counts too."""
        return self._own() + [n for body, _ in self.bodies for n in body.operators()]

    def quantized(self) -> int:
        """Number of them that compute on integers."""
        return sum(map(self._is_quantized, self._own())) + sum(body.quantized() for body, _ in self.bodies)

    def _own(self) -> list[Any]:
        skipped = ("Parameter", "Result", "FakeQuantize", *LOOPS)
        return [n for n in self.nodes if n.get_name() not in self.fixed and n.get_type_name() not in skipped]

    def products(self) -> Iterator[Product]:
        """What multiplies: the body of a loop times its trips."""
        for node in self.nodes:
            if node.get_name() not in self.fixed and (product := self._product(node)) is not None:
                yield product
        for body, turns in self.bodies:
            yield from (product.times(turns) for product in body.products())

    def weights(self) -> tuple[Counter[str], Counter[str]]:
        """Elements and bytes of constants per type; ranges, scales, zero points and shapes are not weights."""
        elements: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        parameters = {node.get_name() for node in self._parameters()}
        for node in self.nodes:
            if node.get_type_name() != "Constant" or node.get_name() in parameters or not tuple(node.shape):
                continue
            kind = element_type(node.output(0))
            if kind not in ("int64", "int32", "bool"):
                elements[kind] += math.prod(node.shape)
                sizes[kind] += node.get_byte_size()
        for body, _ in self.bodies:
            inside = body.weights()
            elements.update(inside[0])
            sizes.update(inside[1])
        return elements, sizes

    def _is_fixed(self, value: Any) -> bool:
        return value.get_node().get_name() in self.fixed

    def _int8(self, value: Any) -> bool:
        """Whether a value has int8 behind it: stored so, or put on a grid of at most 256 levels."""
        node = value.get_node()
        kind = node.get_type_name()
        if node.get_name() in self.same and self.outer is not None:
            return self.outer._int8(self.same[node.get_name()])
        if kind == "FakeQuantize":
            return int(node.get_attributes()["levels"]) <= 256
        if kind == "Constant":
            return node.get_element_type() in _INT8
        if self._is_fixed(value):
            return bool(node.input_values()) and self._int8(node.input_value(0))
        if kind == "Pad":  # zero lies on every grid; another constant need not
            filled = node.input_values()[3:]
            return self._int8(node.input_value(0)) and not any(np.any(_constant(v)) for v in filled)
        if kind in _MOVES:
            moved = node.input_values() if kind == "Concat" else node.input_values()[:1]
            return all(self._int8(v) for v in moved)
        return False

    def _parameters(self) -> Iterator[Any]:
        """Nodes of constants that say how others are to be read."""
        for node in self.nodes:
            kind = node.get_type_name()
            if kind == "FakeQuantize":
                yield from (behind(v) for v in node.input_values()[1:])
            elif kind in ("Multiply", "Subtract") and node.get_name() in self.fixed:
                yield behind(node.input_value(1))

    def _product(self, node: Any) -> Product | None:
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind == "Gather" and self._is_fixed(node.input_value(0)):
            table = node.input_value(0)
            stored = self._int8(table)
            if len(table.partial_shape) < 2 or not (stored or table.element_type.is_real()):
                return None
            return Product(kind, name, "embedding", 0, stored, lambda: [constants.table(table, self._outside)])
        if kind not in _PRODUCTS:
            return None
        data = [node.input_value(p) for p in _PRODUCTS[kind]] or list(node.input_values())
        fixed = [self._is_fixed(v) for v in data]
        integer = self.static and all(self._int8(v) for v in data)
        if kind in RECURRENT:
            integer = integer and self._quantized_when_run(data[0])
        what = constants.kind_of(node, data, fixed)
        read = partial(constants.of_product, node, data, fixed, what, self._outside) if any(fixed) else None
        return Product(kind, name, what, _macs(node, data), integer, read)

    def _outside(self, node: Any) -> Any:
        """The value that a parameter of a loop's body stands for in every trip, in the outermost graph."""
        value, reading = self.same.get(node.get_name()), self.outer
        while value is not None and reading is not None and value.get_node().get_name() in reading.same:
            value, reading = reading.same[value.get_node().get_name()], reading.outer
        return value

    def _quantized_when_run(self, value: Any) -> bool:
        """Whether a value comes from a FakeQuantize; a recurrent cell whose input is looked up in a table is float."""
        node = value.get_node()
        while node.get_type_name() in _MOVES and not self._is_fixed(node.input_value(0)):
            node = node.input_value(0).get_node()
        return bool(node.get_type_name() == "FakeQuantize")

    def _is_quantized(self, node: Any) -> bool:
        """Whether it computes on int8 values, or merely moves them."""
        kind = node.get_type_name()
        if kind in RECURRENT:
            return False
        if kind in _PRODUCTS:
            return all(self._int8(node.input_value(p)) for p in _PRODUCTS[kind] or range(node.get_input_size()))
        if kind in _INTEGER:
            return all(self._int8(v) for v in node.input_values() if not self._is_fixed(v))
        return kind in _MOVES and self._int8(node.output(0))

    def _findings(self) -> Iterator[str]:
        scales = {node.get_name() for node in self._parameters()}
        for node in self.nodes:
            if node.get_type_name() != "Constant" or not node.get_element_type().is_real():
                continue
            values = node.get_data()
            if np.isnan(values).any():
                yield f"the constant {node.get_friendly_name()!r} holds NaN"
            elif node.get_name() in scales and not np.isfinite(values).all():
                yield f"the range or scale {node.get_friendly_name()!r} is not finite"
        for body, _ in self.bodies:
            yield from body._findings()


def _constant(value: Any) -> Any:
    """The array of a constant; 1 where it is none."""
    node = value.get_node()
    return node.get_data() if node.get_type_name() == "Constant" else 1


def _macs(node: Any, data: list[Any]) -> int:
    kind = node.get_type_name()
    if kind == "Einsum":
        return products.einsum(node.get_attributes()["equation"], [shape(value) for value in data])
    first, second, out = shape(data[0]), shape(data[1]), shape(node.output(0))
    if kind == "Convolution":
        return math.prod(out) * math.prod(second[1:])
    if kind == "GroupConvolution":
        return math.prod(out) * math.prod(second[2:])
    if kind == "ConvolutionBackpropData":
        return math.prod(first) * math.prod(second[1:])
    if kind == "GroupConvolutionBackpropData":
        return math.prod(first) * math.prod(second[2:])
    if kind == "ScaledDotProductAttention":
        return math.prod(first[:-1]) * second[-2] * (first[-1] + shape(data[2])[-1])
    if kind == "MatMul":
        turned = node.get_attributes()["transpose_a"] and len(first) > 1
        return math.prod(out) * first[-2 if turned else -1]
    steps = math.prod(first[:2]) if kind.endswith("Sequence") else first[0]
    return steps * sum(math.prod(shape(value)) for value in data[1:])


def _tensor(port: Any) -> IO:
    shape = tuple(-1 if d.is_dynamic else d.get_length() for d in port.partial_shape)
    name = port.any_name if port.names else port.get_node().get_friendly_name()
    return IO(name=name, shape=shape, dtype=element_type(port))
