"""4-bit ONNX files: ``MatMulNBits`` and ``GatherBlockQuantized``, ONNX Runtime's own; all other weights in int8.

ONNX Runtime's tool for them, ``MatMulNBitsQuantizer``, passes over ``Gemm`` without a word, which many linear layers
are, and makes the largest value -8, so that weights which lie on a grid of -7 to 7 are moved.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.frameworks import LoadedModel
from edgekit.scheme import Scheme
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import int8, rules
from edgekit.toolchains.onnx.export import finish
from edgekit.toolchains.onnx.passes.preparing import prepared_file
from edgekit.toolchains.onnx.quantize import layers, read_float, restored

DOMAIN = "com.microsoft"
#: The least size of a block that the two operators know; others are powers of two.
SMALLEST = 16
#: Of unsigned numbers of 4 bits, what stands for zero.
ZERO = np.int8(8)
#: Operators whose weights are restored when the file is opened, and where these stand.
RESTORED = {
    "Conv": (1,), "ConvTranspose": (1,), "MatMul": (0, 1), "Gemm": (0, 1), "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2),
}  # fmt: skip


def weights_int4(model: LoadedModel | None, request: Request) -> Converted:
    """Matrix products and tables in 4 bits, in blocks; all other weights in int8, used in float."""
    return _weights(request, table_bits=4)


def weights_int4_products(model: LoadedModel | None, request: Request) -> Converted:
    """As ``weights_int4``, with tables in 8 bits, a scale per row."""
    return _weights(request, table_bits=8)


def _weights(request: Request, table_bits: int) -> Converted:
    assert request.scheme.group is not None
    with tempfile.TemporaryDirectory() as folder:
        model = onnx.load(prepared_file(read_float(request), folder))
    found = rules.outcomes(request, layers(model) if request.layers else (), able=_by_layer)
    storing = _Storing(model.graph, request.scheme.group, table_bits)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        storing.store(node, kept=found.floats, wider=found.schemes)
    if all(opset.domain != DOMAIN for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    model.ir_version = max(model.ir_version, 10)  # the first with 4-bit tensors
    kinds = ", ".join(f"{kind} x{n}" for kind, n in sorted(storing.wider.items()))
    note = f"weights without a 4-bit operator are int8 and restored when the file is opened: {kinds}"
    return replace(finish(model, request, quantized=True), kept=found.kept, notes=(note,) if kinds else ())


def _by_layer(scheme: Scheme) -> bool:
    """Whether a single layer can have a scheme: int8 weights, used in float."""
    return scheme.weights == "int8" and scheme.weights_only


@dataclass
class _Storing:
    """A graph that gets its nodes one by one, with their weights in fewer bits.

    Attributes:
        group: weights that share a scale.
        table_bits: of what is looked up.
        wider: how many products have int8 weights, by operator.
    """

    graph: onnx.GraphProto
    group: int
    table_bits: int
    wider: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        floats = (t for t in self.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1)
        self._weights = {tensor.name: tensor for tensor in floats}
        self._vectors = {t.name: tuple(t.dims) for t in self.graph.initializer if len(t.dims) == 1}
        self._made: set[str] = set()

    def store(self, node: onnx.NodeProto, *, kept: Collection[str], wider: Collection[str]) -> None:
        """Add a node: as it is where it is ``kept``, with int8 weights where it is ``wider``."""
        given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        named = bool(node.name)
        bits = 8 if named and node.name in wider else 4
        weights: list[Any] = [self._weights.get(name) for name in node.input]
        if named and node.name in kept:
            self.graph.node.append(node)
        elif _is_lookup(node, given, weights):
            self._look_up(node, weights[0], max(bits, self.table_bits))
        elif bits == 4 and _is_linear(node, given, weights):
            self._multiply(node, weights[1], turned=not given.get("transB", 0))
        else:
            self._restore(node, given)

    def _multiply(self, node: onnx.NodeProto, tensor: Any, *, turned: bool) -> None:
        """A product with one matrix, which is stored with the axis of the sum last; a bias belongs to the operator."""
        matrix = numpy_helper.to_array(tensor)
        matrix = matrix.T if turned else matrix
        name = f"{tensor.name}/int4{'/turned' if turned else ''}"
        if self._is_new(name):
            integers, scales = self._blocks(matrix)
            self._add(name, int8.packed(integers + ZERO).reshape(*scales.shape, self.group // 2))
            self._add(f"{name}/scale", scales)
        bias = node.input[2] if len(node.input) > 2 else ""
        within = self._vectors.get(bias) == matrix.shape[:1]
        result = node.output[0] if within or not bias else f"{node.output[0]}/product"
        inputs = [node.input[0], name, f"{name}/scale", *(("", "", bias) if within else ())]
        outputs, summed = matrix.shape
        self._append("MatMulNBits", inputs, result, node.name, N=outputs, K=summed, bits=4, block_size=self.group)
        if result != node.output[0]:
            self.graph.node.append(onnx.helper.make_node("Add", [result, bias], list(node.output)))

    def _look_up(self, node: onnx.NodeProto, tensor: onnx.TensorProto, bits: int) -> None:
        """Rows of a table: in 4 bits in blocks, in 8 with a scale per row."""
        table = numpy_helper.to_array(tensor)
        width = table.shape[-1]
        name = f"{tensor.name}/int{bits}"
        if self._is_new(name):
            if bits == 4:
                integers, scales = self._blocks(table)
                rows = integers[:, :width].ravel().tolist()
                self.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT4, table.shape, rows))
            else:
                integers, scales = int8.symmetric(table, -1)
                self._add(name, (integers.astype(np.int16) + 128).astype(np.uint8))
            self._add(f"{name}/scale", scales)
        block = self.group if bits == 4 else max(SMALLEST, 1 << (width - 1).bit_length())
        inputs = [name, node.input[1], f"{name}/scale"]
        self._append(
            "GatherBlockQuantized", inputs, node.output[0], node.name,
            bits=bits, block_size=block, gather_axis=0, quantize_axis=1,
        )  # fmt: skip

    def _restore(self, node: onnx.NodeProto, given: dict[str, Any]) -> None:
        """Store a node's float weights in int8, with a scale for each output channel."""
        for place in RESTORED.get(node.op_type, ()):
            tensor = self._weights.get(node.input[place]) if place < len(node.input) else None
            if tensor is None:
                continue
            summed = _summed(node, place, given, len(tensor.dims))
            if self._is_new(f"{tensor.name}/restored"):
                self.graph.node.extend(restored(self.graph, tensor, summed))
            node.input[place] = f"{tensor.name}/restored"
            self.wider[node.op_type] += 1
        self.graph.node.append(node)

    def _blocks(self, matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Integers and scales of blocks along the last axis; zeros fill the last one up."""
        whole = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % self.group)))
        return int8.blocks(whole, 0, 1, self.group)

    def _append(self, operator: str, inputs: list[str], output: str, name: str, **attributes: Any) -> None:
        self.graph.node.append(onnx.helper.make_node(operator, inputs, [output], name, domain=DOMAIN, **attributes))

    def _add(self, name: str, array: Any) -> None:
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))

    def _is_new(self, name: str) -> bool:
        """Whether nothing was stored so yet: several nodes may read the same weights."""
        new = name not in self._made
        self._made.add(name)
        return new


def _is_lookup(node: onnx.NodeProto, given: dict[str, Any], weights: list[Any]) -> bool:
    """Whether a node looks rows up in a table."""
    found = node.op_type == "Gather" and weights[0] is not None and given.get("axis", 0) == 0
    return found and len(weights[0].dims) == 2


def _is_linear(node: onnx.NodeProto, given: dict[str, Any], weights: list[Any]) -> bool:
    """Whether a node multiplies an activation with one matrix, and does nothing else but add."""
    if len(weights) < 2 or weights[1] is None or weights[0] is not None or len(weights[1].dims) != 2:
        return False
    plain = {key: given.get(key, usual) == usual for key, usual in (("alpha", 1.0), ("beta", 1.0), ("transA", 0))}
    return node.op_type == "MatMul" or (node.op_type == "Gemm" and all(plain.values()))


def _summed(node: onnx.NodeProto, place: int, given: dict[str, Any], rank: int) -> int | tuple[int, ...]:
    """The axes of a weight that each output sums over."""
    if node.op_type.startswith("Conv"):
        outputs = 1 if node.op_type == "ConvTranspose" else 0
        return tuple(axis for axis in range(rank) if axis != outputs)
    if node.op_type in ("MatMul", "Gemm"):
        turned = given.get("transB" if place else "transA", 0)
        return -1 if bool(turned) == bool(place) else -2
    return -1
