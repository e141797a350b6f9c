"""What is inside an ONNX file, read from the file itself; nothing is executed.

Q/DQ pairs are annotations (``DequantizeLinear -> operator -> QuantizeLinear``), so they are not counted as operators:
an operator between them counts as quantized.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from edgekit.result import IO, Inspected
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Product
from edgekit.toolchains.onnx import weights as constants
from edgekit.toolchains.onnx.graph import QDQ, Graph, beside, load, reading

#: Operator -> positions of its data inputs: the activation, then weights or the second factor.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    "Conv": (0, 1),
    "ConvTranspose": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "LSTM": (0, 1, 2),
    "GRU": (0, 1, 2),
    "RNN": (0, 1, 2),
}
#: The same with integer arithmetic inside: operator -> (float counterpart, positions).
_INTEGER: dict[str, tuple[str, tuple[int, ...]]] = {
    "ConvInteger": ("Conv", (0, 1)),
    "MatMulInteger": ("MatMul", (0, 1)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "DynamicQuantizeLSTM": ("LSTM", (0, 1, 2)),
    "QLinearConv": ("Conv", (0, 3)),
    "QLinearMatMul": ("MatMul", (0, 3)),
    "QGemm": ("Gemm", (0, 3)),
}
_LOOPS = frozenset({"Loop", "Scan"})
#: A trip count from which on a Loop is ended by its condition.
_ENDLESS = 2**31 - 1
_BIAS_TOLERANCE = 1e-3
#: ONNX Runtime's own with weights in blocks of few bits, and where these stand.
_BLOCKS = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
#: ``accuracy_level`` of a ``MatMulNBits`` that makes its activations int8.
_INT8_ACTIVATIONS = 4
#: Two elements a byte in the file, one in memory.
_PACKED = frozenset({"int4", "uint4"})

#: Whether a runtime computes a product, by the names of its factors, in integers.
Rule = Callable[[Graph, onnx.NodeProto, list[str]], bool]


def audit(file: Path) -> Inspected:
    """Count what a file holds and check it statically; see ``Audit``.

    Raises:
        DamagedFileError, UnsafeInputError: see ``load``.
    """
    with reading(file):
        return look(load(file), fused).model_copy(update={"beside": beside(file)})


def look(model: onnx.ModelProto, rule: Rule) -> Inspected:
    """Count what a model holds; ``rule`` says which products between Q/DQ its runtime computes in integers."""
    return _Reading(Graph(model), rule).audit()


def fused(graph: Graph, node: onnx.NodeProto, factors: list[str]) -> bool:
    """Whether ONNX Runtime makes an integer kernel of a product and its Q/DQ, on x86; see its ``qdq_selectors.cc``.

    It has none of ConvTranspose and recurrent cells. A product with a bias needs its result quantized again, unless the
    bias of a ``Gemm`` is int32; a ``MatMul`` with a bias behind it becomes a ``Gemm`` first.
    """
    if node.op_type not in ("Conv", "MatMul", "Gemm") or not all(map(graph.int8_behind, factors)):
        return False
    if not all(_taken(graph, name) for name in factors if name not in graph.fixed):
        return False
    result = node.output[0]
    if node.op_type == "MatMul":
        readers = graph.readers.get(result, [])
        added = readers[0] if len(readers) == 1 and readers[0].op_type == "Add" else None
        biased = added is not None and any(n in graph.constants and graph.constants[n].ndim == 1 for n in added.input)
        return not biased or added is None or _requantized(graph, added.output[0])
    bias = node.input[2] if len(node.input) > 2 else ""
    source = graph.producer.get(bias)
    exact = not bias or (source is not None and source.op_type == "DequantizeLinear")
    return (node.op_type == "Gemm" and exact) or _requantized(graph, result)


def _taken(graph: Graph, name: str) -> bool:
    """Whether the kernels take an activation: one scale, uint8 or of a single reader, for which it is made uint8."""
    node = graph.producer.get(graph.source(name))
    if node is None or node.op_type != "DequantizeLinear" or math.prod(graph.shape(node.input[1])) != 1:
        return False
    unsigned = node.input[0] in graph.values and graph.values[node.input[0]].elem_type == onnx.TensorProto.UINT8
    return unsigned or all(len(graph.readers.get(value, [])) == 1 for value in (node.input[0], node.output[0]))


def _requantized(graph: Graph, name: str) -> bool:
    """Whether all readers quantize a value by one scale, behind a Relu or Clip perhaps, which that then does."""
    readers = graph.readers.get(name, [])
    return bool(readers) and all(
        _requantized(graph, r.output[0])
        if r.op_type in ("Relu", "Clip")
        else r.op_type == "QuantizeLinear" and math.prod(graph.shape(r.input[1])) == 1
        for r in readers
    )


@dataclass(frozen=True)
class _Reading:
    """A graph, and what its runtime computes in integers."""

    graph: Graph
    rule: Rule

    def audit(self) -> Inspected:
        """Count everything."""
        elements, sizes = self._weights()
        operators = self.operators()
        own = self.graph.graph
        return Inspected(
            inputs=tuple(_tensor(v) for v in own.input if v.name not in self.graph.constants),
            outputs=tuple(_tensor(v) for v in own.output),
            weight_bytes=dict(sizes),
            weight_elements=dict(elements),
            activation_types=dict(self._activations()),
            ops_total=len(operators),
            ops_quantized=self.quantized(),
            **products.count(self.products()),
            transposes=sum(n.op_type == "Transpose" for n in operators),
            findings=tuple(self._findings()),
        )

    def operators(self) -> list[onnx.NodeProto]:
        """All nodes that compute something from an input, Q/DQ left out; those inside of bodies as well."""
        own = self._own()
        return own + [inner for node in own for body in self._bodies(node) for inner in body.operators()]

    def quantized(self) -> int:
        """Number of them that compute on integers."""
        own = self._own()
        return sum(map(self._is_quantized, own)) + sum(b.quantized() for node in own for b in self._bodies(node))

    def _own(self) -> list[onnx.NodeProto]:
        return [n for n in self.graph.graph.node if n.op_type not in QDQ and n.output[0] not in self.graph.fixed]

    def _bodies(self, node: onnx.NodeProto) -> list[_Reading]:
        if not any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute):
            return []
        return [_Reading(body, self.rule) for body in self.graph.bodies(node)]

    def products(self) -> Iterator[Product]:
        """What multiplies: the body of a loop times its trips, the costlier branch of an If."""
        for node in self.graph.graph.node:
            bodies = [list(body.products()) for body in self._bodies(node)]
            if node.op_type in _LOOPS:
                trips = self._trips(node)
                yield from (product.times(trips) for body in bodies for product in body)
            elif bodies:
                yield from max(bodies, key=lambda part: sum(product.macs for product in part))
            elif node.op_type not in QDQ and node.output[0] not in self.graph.fixed:
                yield from self._product(node)

    def _trips(self, node: onnx.NodeProto) -> int:
        """How often a loop runs; 1 where the file does not tell."""
        if node.op_type == "Loop":
            count = self.graph.constants.get(node.input[0])
            told = count is not None and count.size == 1 and 0 <= int(count.reshape(-1)[0]) < _ENDLESS
            return int(count.reshape(-1)[0]) if count is not None and told else 1
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        sequences = int(given["num_scan_inputs"])
        shape = self.graph.shape(node.input[len(node.input) - sequences])
        axis = given.get("scan_input_axes", [0])[0]
        return shape[axis] if shape else 1

    def _product(self, node: onnx.NodeProto) -> Iterator[Product]:
        graph, name = self.graph, _text(node.name or node.output[0])
        if node.op_type in _BLOCKS:
            yield self._blocks(node, name)
            return
        if node.op_type == "Gather" and node.input[0] in graph.fixed:
            table = constants.table(graph, node.input[0])
            stored = graph.int8_behind(node.input[0])
            if len(table.shape) > 1 and (stored or "float" in table.type):
                yield Product(node.op_type, name, "embedding", 0, stored, lambda: [table])
            return
        every = tuple(range(len(node.input))) if node.op_type == "Einsum" else ()
        operator, positions = _INTEGER.get(node.op_type, (node.op_type, _PRODUCTS.get(node.op_type, every)))
        factors = [node.input[p] for p in positions if p < len(node.input) and node.input[p]]
        if not factors:
            return
        fixed = [factor in graph.fixed for factor in factors]
        integer = node.op_type in _INTEGER or self.rule(graph, node, factors)
        kind = constants.kind_of(operator, node, [graph.shape(name) for name in factors], fixed)
        read = partial(constants.of_product, graph, node, operator, kind, positions) if any(fixed) else None
        yield Product(node.op_type, name, kind, self._macs(operator, node, factors), integer, read)

    def _blocks(self, node: onnx.NodeProto, name: str) -> Product:
        """A product or a lookup whose weights are in blocks; the former computes in float unless it is told to."""
        given = {a.name: a.i for a in node.attribute}
        read = partial(constants.of_blocks, self.graph, node, _BLOCKS[node.op_type])
        if node.op_type == "GatherBlockQuantized":
            return Product(node.op_type, name, "embedding", 0, True, lambda: [read()])
        macs = math.prod(self.graph.shape(node.input[0])) * given["N"]
        integer = given.get("accuracy_level", 0) == _INT8_ACTIVATIONS
        return Product(node.op_type, name, "linear", macs, integer, lambda: [read()])

    def _macs(self, operator: str, node: onnx.NodeProto, factors: list[str]) -> int:
        first, *others = (self.graph.shape(name) for name in factors)
        second = others[0] if others else ()
        if not first:
            return 0
        given = {a.name: a for a in node.attribute}
        match operator:
            case "Conv":
                return math.prod(self.graph.shape(node.output[0])) * math.prod(second[1:])
            case "ConvTranspose":
                return math.prod(first) * math.prod(second[1:])
            case "MatMul":
                columns = second[-1:] if len(second) > 1 else ()
                batch = np.broadcast_shapes(first[:-2], second[:-2])
                return math.prod(batch) * math.prod(first[-2:]) * math.prod(columns)
            case "Gemm":
                return math.prod(first) * second[0 if "transB" in given and given["transB"].i else 1]
            case "Einsum":
                return products.einsum(given["equation"].s.decode(), [first, *others])
        return math.prod(first[:2]) * sum(math.prod(shape) for shape in others)  # steps x batch, both directions

    def _weights(self) -> tuple[Counter[str], Counter[str]]:
        """Elements and bytes of constants per type; scales and zero points are not weights."""
        nodes = self.graph.graph.node
        scaling = [n for n in nodes if n.op_type in QDQ or (n.op_type == "Mul" and self._restores(n))]
        parameters = {name for n in scaling for name in n.input[1:]}
        blocks: dict[str, onnx.NodeProto] = {}
        for node in (n for n in nodes if n.op_type in _BLOCKS):
            blocks[node.input[_BLOCKS[node.op_type]]] = node
            parameters.update(node.input[2:4])  # scales and zero points; behind them is a bias
        elements: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for name, array in self.graph.own_constants.items():
            if name in blocks:
                held = constants.of_blocks(self.graph, blocks[name], _BLOCKS[blocks[name].op_type])
                elements[held.type] += math.prod(held.shape)
                sizes[held.type] += math.ceil(array.nbytes / (2 if array.dtype.name in _PACKED else 1))
            elif name not in parameters and array.ndim and array.dtype != np.int64:
                elements[array.dtype.name] += array.size
                sizes[array.dtype.name] += math.ceil(array.nbytes / (2 if array.dtype.name in _PACKED else 1))
        for body in (body for node in nodes for body in self._bodies(node)):
            inside = body._weights()
            elements.update(inside[0])
            sizes.update(inside[1])
        return elements, sizes

    def _restores(self, product: onnx.NodeProto) -> bool:
        """Whether a product is of a stored int8 weight and its scale."""
        return product.output[0] in self.graph.fixed and self.graph.int8_behind(product.output[0])

    def _activations(self) -> Counter[str]:
        graph = self.graph
        names = [v.name for v in graph.graph.input if v.name not in graph.constants]
        names += [name for node in graph.graph.node for name in node.output if name and name not in graph.fixed]
        return Counter(
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(graph.values[n].elem_type)).name
            for n in names
            if n in graph.values and graph.values[n].elem_type
        )

    def _is_quantized(self, node: onnx.NodeProto) -> bool:
        """Integer inside, or all its float inputs come from and all its outputs go to Q/DQ."""
        graph = self.graph
        if node.op_type in _INTEGER or node.op_type.startswith("QLinear"):
            return True
        sources = [graph.producer.get(n) for n in node.input if n and n not in graph.fixed]
        if not sources or not all(s is not None and s.op_type == "DequantizeLinear" for s in sources):
            return False
        if node.op_type in ("MatMul", "Gemm"):
            return all(graph.int8_behind(name) for name in node.input[:2])
        readers = [r for output in node.output for r in graph.readers.get(output, [])]
        return bool(readers) and all(r.op_type == "QuantizeLinear" for r in readers)

    def _findings(self) -> Iterator[str]:
        nodes = self.graph.graph.node
        for name, array in self.graph.own_constants.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                yield f"the weight {name!r} holds NaN"
        for node in nodes:
            if node.op_type == "DequantizeLinear" and node.input[0] in self.graph.constants:
                yield from self._check_dequantize(node)
            elif node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) > 2:
                yield from self._check_bias(node)
        unknown = {f"{n.domain or 'ai.onnx'}.{n.op_type}" for n in nodes if not _known(n)}
        yield from (f"ONNX Runtime has no operator {name}" for name in sorted(unknown))
        yield from (finding for node in nodes for body in self._bodies(node) for finding in body._findings())

    def _check_dequantize(self, node: onnx.NodeProto) -> Iterator[str]:
        stored, scale = (self.graph.constants.get(name) for name in node.input[:2])
        if stored is None or scale is None:
            return
        if not np.isfinite(scale).all() or (np.asarray(scale, np.float64) <= 0).any():
            yield f"the weight {node.input[0]!r} has a scale that is not positive and finite"
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.ndim == 1 and scale.size > 1 and stored.shape[axis] != scale.size:
            yield f"the weight {node.input[0]!r} has {scale.size} scales for {stored.shape[axis]} channels"

    def _check_bias(self, node: onnx.NodeProto) -> Iterator[str]:
        """An int32 bias is added to the accumulator, whose unit is input scale x weight scale."""
        scales, constants = [], self.graph.constants
        for name in node.input[:3]:
            source = self.graph.producer.get(name)
            if source is None or source.op_type != "DequantizeLinear" or source.input[1] not in constants:
                return
            scales.append(np.asarray(constants[source.input[1]], np.float64).reshape(-1))
        wanted = scales[0] * scales[1]
        if not np.allclose(scales[2], wanted, rtol=_BIAS_TOLERANCE, atol=0):
            worst = float(np.abs(scales[2] / wanted - 1).max())
            yield f"{node.op_type}:{node.name}: bias scale is off input scale x weight scale by {worst:.1%}"


def _tensor(value: onnx.ValueInfoProto) -> IO:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return IO(name=_text(value.name), shape=shape, dtype=dtype)


def _text(name: str | bytes) -> str:
    """A name; where it is not UTF-8 protobuf hands out bytes, and decoding these raises what ``reading`` waits for."""
    return name.decode() if isinstance(name, bytes) else name


def _known(node: onnx.NodeProto) -> bool:
    return (node.domain if node.domain != "ai.onnx" else "", node.op_type) in _runtime_operators()


def _runtime_operators() -> frozenset[tuple[str, str]]:
    global _OPERATORS
    if not _OPERATORS:
        from onnxruntime.capi import _pybind_state

        _OPERATORS = frozenset((s.domain, s.name) for s in _pybind_state.get_all_operator_schema())
    return _OPERATORS


_OPERATORS: frozenset[tuple[str, str]] = frozenset()
