"""What is inside an ONNX file, read from the file itself; nothing is executed.

Q/DQ pairs are annotations (``DequantizeLinear -> operator -> QuantizeLinear``), so they are not counted as operators:
an operator between them counts as quantized.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.errors import DamagedFileError, UnsafeInputError
from edgekit.toolchains import Audit, IOTensor

#: Operator -> positions of its data inputs: the activation, then weights or the second factor.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    "Conv": (0, 1),
    "ConvTranspose": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "Einsum": (0, 1),
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
_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
_INT8 = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
_FLOAT = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE})
_BIAS_TOLERANCE = 1e-3
_MOST_NAMES = 20


#: What reading and checking a damaged file raises; text that is not UTF-8 is found when a message quotes it.
_BROKEN = (
    DecodeError,
    UnicodeDecodeError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    OSError,
)


def load(file: Path) -> onnx.ModelProto:
    """Parse and check a file.

    Raises:
        DamagedFileError: truncated, altered, or no ONNX model.
        UnsafeInputError: weights are to be read from outside the file's folder.
    """
    try:
        model = onnx.load(file, load_external_data=False)
        for tensor in _tensors(model.graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                _check_external(file, tensor)
        onnx.checker.check_model(str(file), full_check=True)
        onnx.load_external_data_for_model(model, str(file.parent))
    except _BROKEN as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DamagedFileError(
            f"{file.name} is not a valid ONNX model: {lines[0][:300]}", hint="Convert again, or copy the file again."
        ) from error
    return model


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers, attributes, and those of loop bodies."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for body in (attribute.g, *attribute.graphs):
                yield from _tensors(body)


def _check_external(file: Path, tensor: onnx.TensorProto) -> None:
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    folder = file.parent.resolve()
    if not location or not (folder / location).resolve().is_relative_to(folder):
        raise UnsafeInputError(
            f"{file.name} takes the weight {tensor.name!r} from {location!r}, outside of its own folder",
            hint="Keep external data beside the model.",
        )


def audit(file: Path) -> Audit:
    """Count what a file holds and check it statically; see ``Audit``.

    In a file whose activations have no static ranges, products of two activations carry no weights and are left
    out of ``macs_total``.
    """
    return Graph(load(file)).audit()


@dataclass(frozen=True)
class Graph:
    """A model with the lookups that the counting needs."""

    model: onnx.ModelProto

    @cached_property
    def constants(self) -> dict[str, NDArray[np.generic]]:
        """Initializers and ``Constant`` nodes by name."""
        found = {t.name: numpy_helper.to_array(t) for t in self.model.graph.initializer}
        for node in self.model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        return found

    @cached_property
    def fixed(self) -> set[str]:
        """Names of all values that do not depend on an input, dequantized weights among them."""
        known = {t.name for t in self.model.graph.initializer}
        for node in self.model.graph.node:
            bodies = any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute)  # they read outer values unseen
            if not bodies and all(name in known for name in node.input if name):
                known.update(node.output)
        return known

    @cached_property
    def producer(self) -> dict[str, onnx.NodeProto]:
        """Node by output name."""
        return {output: node for node in self.model.graph.node for output in node.output}

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        """Nodes by input name."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def values(self) -> dict[str, onnx.TypeProto.Tensor]:
        """Inferred types and shapes by value name."""
        graph = onnx.shape_inference.infer_shapes(self.model, data_prop=True).graph
        return {v.name: v.type.tensor_type for v in (*graph.value_info, *graph.input, *graph.output)}

    @cached_property
    def static(self) -> bool:
        """Whether activations have static ranges."""
        return any(n.op_type == "QuantizeLinear" and n.input[0] not in self.fixed for n in self.model.graph.node)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a value; empty where it is unknown."""
        if name in self.constants:
            return self.constants[name].shape
        if name in self.values:
            return tuple(d.dim_value for d in self.values[name].shape.dim)
        node = self.producer.get(name)
        return self.shape(node.input[0]) if node is not None and node.op_type in _QDQ else ()

    def int8_behind(self, name: str) -> bool:
        """Whether a value is int8 itself, or dequantized from int8 (transposed or reshaped at most).

        A constant may be dequantized by DequantizeLinear, or cast and multiplied with its scale.
        """
        while (node := self.producer.get(name)) is not None:
            if node.op_type == "DequantizeLinear" or (node.op_type == "Cast" and name in self.fixed):
                return self._is_int8(node.input[0])
            scaled = node.op_type == "Mul" and name in self.fixed
            if not scaled and node.op_type not in ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"):
                break
            name = node.input[0]
        return self._is_int8(name)

    def _is_int8(self, name: str) -> bool:
        if name in self.constants:
            return self.constants[name].dtype in (np.int8, np.uint8)
        return name in self.values and self.values[name].elem_type in _INT8

    def operators(self) -> Iterator[onnx.NodeProto]:
        """All nodes that compute something from an input, Q/DQ left out."""
        return (n for n in self.model.graph.node if n.op_type not in _QDQ and n.output[0] not in self.fixed)

    def audit(self) -> Audit:
        """Count everything."""
        elements, sizes = self._weights()
        total = quantized = 0
        floats: list[str] = []
        for node in self.operators():
            macs, has_weights, is_quantized, in_float = self._product(node)
            if has_weights or self.static or not self._compressed:
                total += macs
                quantized += macs if is_quantized else 0
            if in_float or node.op_type in ("Loop", "Scan"):  # bodies are never quantized
                floats.append(f"{node.op_type}:{node.name}")
        operators = list(self.operators())
        return Audit(
            inputs=tuple(_tensor(v) for v in self.model.graph.input if v.name not in self.constants),
            outputs=tuple(_tensor(v) for v in self.model.graph.output),
            weight_bytes=dict(sizes),
            weight_elements=dict(elements),
            activation_types=dict(self._activations()),
            ops_total=len(operators),
            ops_quantized=sum(self._is_quantized(n) for n in operators),
            macs_total=total,
            macs_quantized=quantized,
            float_ops=tuple(floats[:_MOST_NAMES]),
            transposes=sum(n.op_type == "Transpose" for n in operators),
            findings=tuple(self._findings()),
        )

    @cached_property
    def _compressed(self) -> bool:
        return any(a.dtype in (np.int8, np.uint8) and a.ndim >= 2 for a in self.constants.values())

    def _weights(self) -> tuple[Counter[str], Counter[str]]:
        """Elements and bytes of constants per type; scales and zero points are not weights."""
        scaling = [n for n in self.model.graph.node if n.op_type in _QDQ or (n.op_type == "Mul" and self._restores(n))]
        parameters = {name for n in scaling for name in n.input[1:]}
        elements: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for name, array in self.constants.items():
            if name not in parameters and array.ndim and array.dtype != np.int64:
                elements[array.dtype.name] += array.size
                sizes[array.dtype.name] += array.nbytes
        return elements, sizes

    def _restores(self, product: onnx.NodeProto) -> bool:
        """Whether a product is of a stored int8 weight and its scale."""
        return product.output[0] in self.fixed and self.int8_behind(product.output[0])

    def _activations(self) -> Counter[str]:
        names = [v.name for v in self.model.graph.input if v.name not in self.constants]
        names += [name for node in self.model.graph.node for name in node.output if name and name not in self.fixed]
        return Counter(
            np.dtype(onnx.helper.tensor_dtype_to_np_dtype(self.values[n].elem_type)).name
            for n in names
            if n in self.values and self.values[n].elem_type
        )

    def _product(self, node: onnx.NodeProto) -> tuple[int, bool, bool, bool]:
        """MACs; whether it has weights; whether they count as quantized; whether anything in it stayed float."""
        kind, positions = _INTEGER.get(node.op_type, (node.op_type, _PRODUCTS.get(node.op_type, ())))
        if not positions:
            table = node.op_type == "Gather" and node.input[0] in self.constants
            return 0, table, False, table and self.constants[node.input[0]].dtype.kind == "f"
        data = [node.input[p] for p in positions if p < len(node.input) and node.input[p]]
        macs = self._macs(kind, node, data)
        weights = [name for name in data if name in self.fixed]
        if node.op_type in _INTEGER:
            return macs, bool(weights), True, False
        int8 = [self.int8_behind(name) for name in data]
        stored = bool(weights) and all(self.int8_behind(name) for name in weights)
        counted = all(int8) if self.static else stored
        return macs, bool(weights), counted, bool(weights) and not all(int8)

    def _macs(self, kind: str, node: onnx.NodeProto, data: list[str]) -> int:
        first, second = self.shape(data[0]), self.shape(data[1]) if len(data) > 1 else ()
        out = self.shape(node.output[0])
        if kind == "Conv":
            return math.prod(out) * math.prod(second[1:]) if out else 0
        if kind == "ConvTranspose":
            return math.prod(first) * math.prod(second[1:])
        if kind == "MatMul":
            columns = second[-1:] if len(second) > 1 else ()
            batch = out[:-2] if len(out) > 2 else first[:-2]
            return math.prod(batch) * math.prod(first[-2:]) * math.prod(columns)
        if kind == "Gemm":
            turned = any(a.name == "transB" and a.i for a in node.attribute)
            return math.prod(first) * (second[0] if turned else second[1])
        if kind == "Einsum":
            return _einsum_macs(node, [self.shape(name) for name in data])
        return first[0] * sum(math.prod(self.shape(name)) for name in data[1:]) if first else 0

    def _is_quantized(self, node: onnx.NodeProto) -> bool:
        """Integer inside, or all its float inputs come from and all its outputs go to Q/DQ."""
        if node.op_type in _INTEGER or node.op_type.startswith("QLinear"):
            return True
        sources = [self.producer.get(n) for n in node.input if n and n not in self.fixed]
        if not sources or not all(s is not None and s.op_type == "DequantizeLinear" for s in sources):
            return False
        if node.op_type in ("MatMul", "Gemm"):
            return all(self.int8_behind(name) for name in node.input[:2])
        readers = [r for output in node.output for r in self.readers.get(output, [])]
        return bool(readers) and all(r.op_type == "QuantizeLinear" for r in readers)

    def _findings(self) -> Iterator[str]:
        for name, array in self.constants.items():
            if array.dtype.kind == "f" and np.isnan(array).any():
                yield f"the weight {name!r} holds NaN"
        for node in self.model.graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in self.constants:
                yield from self._check_dequantize(node)
            elif node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.input) > 2:
                yield from self._check_bias(node)
        unknown = {f"{n.domain or 'ai.onnx'}.{n.op_type}" for n in self.model.graph.node if not _known(n)}
        yield from (f"ONNX Runtime has no operator {name}" for name in sorted(unknown))

    def _check_dequantize(self, node: onnx.NodeProto) -> Iterator[str]:
        stored, scale = self.constants[node.input[0]], self.constants.get(node.input[1])
        if scale is None:
            return
        if not np.isfinite(scale).all() or (np.asarray(scale, np.float64) <= 0).any():
            yield f"the weight {node.input[0]!r} has a scale that is not positive and finite"
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        if scale.ndim == 1 and scale.size > 1 and stored.shape[axis] != scale.size:
            yield f"the weight {node.input[0]!r} has {scale.size} scales for {stored.shape[axis]} channels"

    def _check_bias(self, node: onnx.NodeProto) -> Iterator[str]:
        """An int32 bias is added to the accumulator, whose unit is input scale x weight scale."""
        scales = []
        for name in node.input[:3]:
            source = self.producer.get(name)
            if source is None or source.op_type != "DequantizeLinear" or source.input[1] not in self.constants:
                return
            scales.append(np.asarray(self.constants[source.input[1]], np.float64).reshape(-1))
        wanted = scales[0] * scales[1]
        if not np.allclose(scales[2], wanted, rtol=_BIAS_TOLERANCE, atol=0):
            worst = float(np.abs(scales[2] / wanted - 1).max())
            yield f"{node.op_type}:{node.name}: bias scale is off input scale x weight scale by {worst:.1%}"


def _einsum_macs(node: onnx.NodeProto, shapes: list[tuple[int, ...]]) -> int:
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.split("->")[0].split(","), shapes, strict=False):
        sizes.update(zip(term, shape, strict=False))
    return math.prod(sizes.values())


def _tensor(value: onnx.ValueInfoProto) -> IOTensor:
    kind = value.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim)
    return IOTensor(value.name, shape, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name)


def _known(node: onnx.NodeProto) -> bool:
    return (node.domain if node.domain != "ai.onnx" else "", node.op_type) in _runtime_operators()


def _runtime_operators() -> frozenset[tuple[str, str]]:
    global _OPERATORS
    if not _OPERATORS:
        from onnxruntime.capi import _pybind_state

        _OPERATORS = frozenset((s.domain, s.name) for s in _pybind_state.get_all_operator_schema())
    return _OPERATORS


_OPERATORS: frozenset[tuple[str, str]] = frozenset()
