"""Parameters of quantized graphs that are there twice, or for nothing: a good part of a small int8 ONNX model."""

from __future__ import annotations

import collections

import onnx
from onnx import numpy_helper

from edgekit.toolchains.onnx.passes.names import graphs

PAIRS = ("QuantizeLinear", "DequantizeLinear")


def parameters(graph: onnx.GraphProto) -> dict[str, str]:
    """Names of all scales (``s``) and zero points (``z``)."""
    pairs = (node for inner in graphs(graph) for node in inner.node if node.op_type in PAIRS)
    return {name: role for node in pairs for name, role in zip(node.input[1:], "sz", strict=False)}


def share_parameters(graph: onnx.GraphProto) -> None:
    """Keep one of equal scales or zero points, none that nothing reads, and no zero points of biases.

    None of it changes what the runtime computes. With short names and without shapes a model in QDQ
    is then smaller than in integer operators (targets/REASONS.md#names).
    """
    _drop_bias_zeros(graph)
    roles = parameters(graph)
    used = collections.Counter(name for inner in graphs(graph) for node in inner.node for name in node.input)
    used.update(value.name for value in graph.output)
    first: dict[tuple[object, ...], str] = {}
    same: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        if tensor.name in roles:
            key = (roles[tensor.name], tensor.data_type, *tensor.dims, numpy_helper.to_array(tensor).tobytes())
            if key in first:
                same[tensor.name] = first[key]
                continue
            first[key] = tensor.name
        elif not used[tensor.name]:
            continue
        kept.append(tensor)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in (node for inner in graphs(graph) for node in inner.node):
        node.input[:] = [same.get(name, name) for name in node.input]


def _drop_bias_zeros(graph: onnx.GraphProto) -> None:
    """An int32 tensor without a zero point has the zero point 0 (ONNX, DequantizeLinear)."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in (node for inner in graphs(graph) for node in inner.node if node.op_type in PAIRS):
        value = tensors.get(node.input[0])
        zero = tensors.get(node.input[2]) if len(node.input) == 3 else None
        is_bias = value is not None and value.data_type == onnx.TensorProto.INT32
        if is_bias and zero is not None and not numpy_helper.to_array(zero).any():
            del node.input[2:]
