"""Stored stacks of matrices, which ONNX Runtime's integer product takes with one scale alone."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

_MOST = 127


def one_scale(graph: onnx.GraphProto) -> None:
    """Give int8 stacks that MatMul multiplies with one scale, in place; a stack of one becomes a matrix.

    Quantizers write a scale per column. ``QLinearMatMul`` takes those of a matrix; of a stack it ends the first run
    with "weight zero point must be a scalar" (ONNX Runtime 1.31). Shapes between operators, which the graph has to
    know, are those of before.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    restored = {
        node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in (*graph.value_info, *graph.input)}
    readers = [name for node in graph.node for name in node.input]
    for product in graph.node:
        node = restored.get(product.input[1]) if product.op_type == "MatMul" else None
        if node is None:
            continue
        scales = numpy_helper.to_array(stored[node.input[1]])
        if scales.size == 1 or scales.ndim != 1:  # of blocks, which that operator does not take
            continue
        values = numpy_helper.to_array(stored[node.input[0]])
        if values.ndim == 2:
            continue
        alone = readers.count(node.output[0]) == readers.count(node.input[0]) == 1
        flat = alone and values.size == np.prod(values.shape[-2:]) and _axis(node) == values.ndim - 1
        if flat and ranks.get(product.input[0], 0) >= values.ndim:
            _store(stored[node.input[0]], values.reshape(values.shape[-2:]))
            _attribute(node).i = 1
        else:
            _merge(node, stored)


def _attribute(node: onnx.NodeProto) -> onnx.AttributeProto:
    """The one that says which axis has the scales; the standard's default is written out."""
    for attribute in node.attribute:
        if attribute.name == "axis":
            return attribute
    node.attribute.append(onnx.helper.make_attribute("axis", 1))
    return node.attribute[-1]


def _axis(node: onnx.NodeProto) -> int:
    return int(_attribute(node).i)


def _merge(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> None:
    """Write integers of one scale in the place of those that have several."""
    values, scales = (numpy_helper.to_array(stored[name]) for name in node.input[:2])
    axis = _axis(node) % values.ndim
    along = [-1 if place == axis else 1 for place in range(values.ndim)]
    zeros = numpy_helper.to_array(stored[node.input[2]]) if len(node.input) > 2 else np.zeros_like(scales)
    floats = (values.astype(np.float32) - zeros.astype(np.float32).reshape(along)) * scales.reshape(along)
    scale = np.float32(np.abs(floats).max() / _MOST or 1)
    _store(stored[node.input[0]], np.round(floats / scale).clip(-_MOST, _MOST).astype(np.int8))
    _store(stored[node.input[1]], np.asarray(scale))
    if len(node.input) > 2:
        _store(stored[node.input[2]], np.zeros((), np.int8))
    del node.attribute[:]


def _store(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
