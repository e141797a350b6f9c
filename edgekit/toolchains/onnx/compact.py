"""Small quantized files: what names and repeats take is a third of a small int8 ONNX model."""

from __future__ import annotations

import collections

import onnx
from onnx import numpy_helper

from edgekit.toolchains.onnx.names import graphs, rename

PAIRS = ("QuantizeLinear", "DequantizeLinear")


def compact(graph: onnx.GraphProto) -> None:
    """Leave out inferred shapes, names of Q/DQ nodes and zero points of biases; share scales and zero points.

    None of it changes what the runtime computes. QDQ files of the zoo become 6 to 23 % smaller, less than the same
    model in integer operators.
    """
    del graph.value_info[:]
    _shorten_outputs(graph)
    pairs = [node for inner in graphs(graph) for node in inner.node if node.op_type in PAIRS]
    for node in pairs:
        node.name = ""
    _drop_bias_zeros(graph, pairs)
    _share_parameters(graph, pairs)


def _shorten_outputs(graph: onnx.GraphProto) -> None:
    """Rename what ONNX Runtime's quantizer calls ``x_QuantizeLinear_Output`` to ``x/q``."""
    used = {value for inner in graphs(graph) for node in inner.node for value in (*node.input, *node.output)}
    endings = {"_DequantizeLinear_Output": "/dq", "_QuantizeLinear_Output": "/q"}
    names = {v: v.removesuffix(end) + new for end, new in endings.items() for v in used if v.endswith(end)}
    fixed = {value.name for value in (*graph.input, *graph.output)}
    rename(graph, {old: new for old, new in names.items() if new not in used and old not in fixed})


def _drop_bias_zeros(graph: onnx.GraphProto, pairs: list[onnx.NodeProto]) -> None:
    """An int32 tensor without a zero point has the zero point 0 (ONNX, DequantizeLinear)."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in pairs:
        value = tensors.get(node.input[0])
        zero = tensors.get(node.input[2]) if len(node.input) == 3 else None
        is_bias = value is not None and value.data_type == onnx.TensorProto.INT32
        if is_bias and zero is not None and not numpy_helper.to_array(zero).any():
            del node.input[2:]


def _share_parameters(graph: onnx.GraphProto, pairs: list[onnx.NodeProto]) -> None:
    """Keep one of equal scales or zero points, under a short name, and none that nothing reads."""
    roles = {name: role for node in pairs for name, role in zip(node.input[1:], "sz", strict=False)}
    used = collections.Counter(name for inner in graphs(graph) for node in inner.node for name in node.input)
    used.update(value.name for value in graph.output)
    taken = set(used) | {name for inner in graphs(graph) for node in inner.node for name in node.output}
    first: dict[tuple[object, ...], str] = {}
    names: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        role = roles.get(tensor.name)
        if role is None and used[tensor.name]:
            kept.append(tensor)
        elif role is not None:
            key = (role, tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes())
            if key not in first:
                first[key] = next(n for i in range(len(taken) + 1) if (n := f"{role}{len(first) + i}") not in taken)
                taken.add(first[key])
                kept.append(tensor)
            names[tensor.name] = first[key]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    rename(graph, names)
