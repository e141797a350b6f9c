"""Constant factors of an ONNX file's products, as the file stores them: laid out alike for all formats."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekit.scheme import Kind
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Weights
from edgekit.toolchains.onnx.graph import Graph

#: Operators with integers inside: positions of weights -> those of their scale and zero point.
_OWN: dict[str, dict[int, tuple[int | None, int]]] = {
    "ConvInteger": {1: (None, 3)},
    "MatMulInteger": {1: (None, 3)},
    "DynamicQuantizeMatMul": {1: (2, 3)},
    "MatMulIntegerToFloat": {1: (3, 5)},
    "DynamicQuantizeLSTM": {1: (8, 9), 2: (10, 11)},
    "QLinearConv": {3: (4, 5)},
    "QLinearMatMul": {3: (4, 5)},
    "QGemm": {3: (4, 5)},
}
_MOVES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})

Array = NDArray[Any]


def kind_of(operator: str, node: onnx.NodeProto, shapes: list[tuple[int, ...]], fixed: list[bool]) -> Kind:
    """What a product does.

    Args:
        operator: its type, of those with integers inside that of the float counterpart.
        node: it.
        shapes: of its factors.
        fixed: which of them are constants.
    """
    if operator in ("LSTM", "GRU", "RNN"):
        return "recurrent"
    if operator == "ConvTranspose":
        return "transposed-conv"
    if operator == "Conv":
        return "depthwise-conv" if _attribute(node, "group", 1) > 1 and shapes[1][1:2] == (1,) else "conv"
    single = len(shapes) > 1 and math.prod(shapes[1][:-2]) == 1 and operator != "Einsum"
    return "linear" if single and not fixed[0] else "matmul"


def table(graph: Graph, name: str) -> Weights:
    """What a ``Gather`` looks up in."""
    return _stored(graph, name)._replace(axis=None)


def of_product(
    graph: Graph, node: onnx.NodeProto, operator: str, kind: Kind, positions: tuple[int, ...]
) -> list[Weights]:
    """The constants among a product's factors, which stand at these positions of its inputs."""
    found = []
    for order, place in enumerate(positions):
        name = node.input[place] if place < len(node.input) else ""
        if not name or name not in graph.fixed:
            continue
        weights = _own(graph, node, place) if node.op_type in _OWN else _stored(graph, name)
        if operator == "ConvTranspose":
            found.append(weights.laid_out(partial(products.transposed_filter, groups=_attribute(node, "group", 1))))
        elif kind == "recurrent":
            turned = weights.laid_out(lambda a: a.swapaxes(-1, -2)) if operator != node.op_type else weights
            found.append(turned.laid_out(lambda a: a.reshape(-1, a.shape[-1]))._replace(state=order == 2))
        elif operator == "Einsum":
            found.append(weights._replace(axis=None))
        elif kind in ("linear", "matmul"):
            # A matrix product sums over the second last axis of its right factor and the last of its left one.
            turned_by = "transB" if order else "transA"
            swap = bool(_attribute(node, turned_by, 0)) != bool(order) and len(weights.shape) > 1
            weights = weights.laid_out(lambda a: a.swapaxes(-1, -2), -1) if swap else weights._replace(axis=-1)
            found.append(products.matrix(weights) if kind == "linear" else weights)
        else:
            found.append(weights)
    return found


def of_blocks(graph: Graph, node: onnx.NodeProto, place: int) -> Weights:
    """Weights of ONNX Runtime's operators that have few bits, in blocks along their last axis.

    They are unsigned with a zero point of half their range unless another is given, or ``int4``, with one of 0. The
    bytes of a ``MatMulNBits`` hold its blocks, of which the last is filled up.
    """
    given = {a.name: a.i for a in node.attribute}
    product, bits, block = node.op_type == "MatMulNBits", given.get("bits", 4), given.get("block_size", 128)
    array = graph.constants.get(node.input[place])
    scales = graph.constants.get(node.input[2])
    if array is None or scales is None:
        return Weights((), f"uint{bits}", None, None, axis=None)
    integers = array.astype(np.int16)
    if array.dtype == np.uint8 and bits < 8:
        parts = integers[..., None] >> np.arange(0, 8, bits) & (1 << bits) - 1
        integers = parts.reshape(*array.shape[:-1], -1)
    if product:
        integers = integers.reshape(given["N"], -1)[:, : given["K"]]
    unsigned = array.dtype.name.startswith("u")
    kind = f"uint{bits}" if unsigned else array.dtype.name
    zero = integers == (1 << bits - 1 if unsigned else 0) if len(node.input) < 4 or not node.input[3] else None
    return Weights(integers.shape, kind, scales.size, zero, axis=1 if product else None, block=block)


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def _own(graph: Graph, node: onnx.NodeProto, place: int) -> Weights:
    """Weights of an operator with integers inside, which has their scale and zero point beside them."""
    weights = _stored(graph, node.input[place])
    if place not in _OWN[node.op_type]:
        return weights._replace(zero=None)
    at_scale, at_point = _OWN[node.op_type][place]
    point = graph.constants.get(node.input[at_point]) if at_point < len(node.input) else None
    scale = graph.constants.get(node.input[at_scale]) if at_scale is not None else _behind(graph, node)
    counts = [array.size for array in (scale, point) if array is not None]
    array = graph.constants.get(node.input[place])
    zero = None
    if array is not None:
        # Scales belong to the first axis of a convolution, to the last of a matrix, to the outer two of a cell.
        convolution = node.op_type in ("ConvInteger", "QLinearConv")
        zero = _at(array, point, (0,) if convolution else (0, 2) if array.ndim == 3 else (-1,))
    return weights._replace(scales=max(counts, default=1), zero=zero)


def _behind(graph: Graph, node: onnx.NodeProto) -> Array | None:
    """The scale of weights with which an integer result is multiplied, after a cast, with that of the activation."""
    for cast in graph.readers.get(node.output[0], []):
        for product in graph.readers.get(cast.output[0], []):
            both = [graph.producer[n] for n in product.input if n != cast.output[0] and n in graph.producer]
            scales = [graph.constants[n] for made in both for n in made.input if n in graph.constants]
            if (cast.op_type, product.op_type) == ("Cast", "Mul") and scales:
                return scales[0]
    return None


def _stored(graph: Graph, name: str) -> Weights:
    """A constant with what was done to it: dequantized, widened, multiplied with its scale, moved."""
    steps = []
    while name and name not in graph.constants and (node := graph.producer.get(name)) is not None:
        steps.append((node, name))
        name = node.input[0] if node.input else ""
    array = graph.constants.get(name) if name else None
    if array is None:
        kind = graph.values[steps[0][1]].elem_type if steps and steps[0][1] in graph.values else onnx.TensorProto.FLOAT
        shape = graph.shape(steps[0][1]) if steps else ()
        return Weights(shape, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name, None, None)
    integer = array.dtype.name.startswith(("int", "uint"))
    scales = 1 if integer else None
    unread = Weights(graph.shape(steps[0][1] if steps else name), array.dtype.name, scales, None)
    zero: Array | None = None
    for node, made in reversed(steps):
        current = array if zero is None else zero
        if node.op_type == "DequantizeLinear" and zero is None:
            scale, point = (graph.constants.get(n) for n in (*node.input[1:3], "")[:2])
            scales = scale.size if scale is not None else scales
            zero = _at(array, point, (_attribute(node, "axis", 1),))
            if zero is None:
                return unread._replace(scales=scales)
            current = zero
        elif node.op_type == "Mul" and len(node.input) == 2 and node.input[1] in graph.constants:
            scales = graph.constants[node.input[1]].size if integer else scales
        elif node.op_type == "Transpose":
            current = current.transpose(next((list(a.ints) for a in node.attribute if a.name == "perm"), None))
        elif node.op_type in _MOVES and math.prod(graph.shape(made)) == current.size:
            current = current.reshape(graph.shape(made))
        elif node.op_type != "Cast":
            return unread._replace(scales=scales)
        array, zero = (current, None) if zero is None else (array, current)
    zero = array == 0 if zero is None else zero
    return Weights(zero.shape, array.dtype.name, scales, zero)


def _at(array: Array, point: Array | None, axes: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Where integers are equal to their zero point: one for all, one for each place on some axes, or for each block."""
    numbers = array.astype(np.int16) if array.dtype.itemsize == 1 else array
    if point is None or not np.any(point):
        return np.asarray(numbers == 0)
    points = point.astype(np.int16)
    if points.size == 1:
        return np.asarray(numbers == points.reshape(()))
    if points.ndim == array.ndim and points.ndim > 1:
        for axis, size in enumerate(array.shape):
            points = points.take(np.arange(size) // -(-size // points.shape[axis]), axis)
    else:
        own = {axis % max(array.ndim, 1) for axis in axes}
        wanted = [size if axis in own else 1 for axis, size in enumerate(array.shape)]
        if points.size != math.prod(wanted):
            return None
        points = points.reshape(wanted)
    return np.asarray(numbers == points) if points.ndim == array.ndim else None
