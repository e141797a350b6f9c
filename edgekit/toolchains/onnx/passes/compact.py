"""Small quantized files: what names and repeats take is nearly a third of a small int8 ONNX model."""

from __future__ import annotations

import collections
import itertools

import onnx
from onnx import numpy_helper

from edgekit.toolchains.onnx.passes.names import graphs, rename

PAIRS = ("QuantizeLinear", "DequantizeLinear")
#: Share of a float file from which on its names are worth shortening.
NAMES_SHARE = 0.05
#: What ONNX Runtime's quantizer calls the values that it adds, and the nodes.
ADDED_VALUES = ("_quantized", "_quantized_cast_output", "_quant_scales_mul:0")
ADDED_NODES = ("_quantized_cast", "_quant_scales_mul", "_quant_output_scale_mul", "_QuantizeLinear")


def compact(graph: onnx.GraphProto) -> None:
    """Leave out names of what the quantizer added and zero points of biases; share scales.

    None of it changes what the runtime computes. With its shapes left out too, the zoo's MobileNetV2 in QDQ becomes
    29 % smaller, less than the same model in integer operators.
    """
    pairs = [node for inner in graphs(graph) for node in inner.node if node.op_type in PAIRS]
    for inner in graphs(graph):
        for node in inner.node:
            if node.op_type in PAIRS or node.name.endswith(ADDED_NODES):
                node.name = ""
    _drop_bias_zeros(graph, pairs)
    _share_parameters(graph, pairs)
    _number_values(graph)


def shorten_many(graph: onnx.GraphProto) -> None:
    """Number the values of a graph whose names take a good part of the file, and name operators with weights alone.

    An unrolled LSTM is hundreds of small operators: names are a tenth of the zoo's from Keras.
    """
    nodes = [node for inner in graphs(graph) for node in inner.node]
    names = sum(len(name) for node in nodes for name in (node.name, *node.input, *node.output))
    if names < NAMES_SHARE * graph.ByteSize():
        return
    fixed = {value.name for inner in graphs(graph) for value in (*inner.input, *inner.output)}
    weights = {tensor.name for inner in graphs(graph) for tensor in inner.initializer}
    kept = weights | fixed
    numbers = (name for i in itertools.count() if (name := f"v{i}") not in kept)
    made = [value for node in nodes for value in node.output if value and value not in fixed]
    rename(graph, dict(zip(made, numbers, strict=False)))
    for node in nodes:
        if not weights & set(node.input):
            node.name = ""


def _number_values(graph: onnx.GraphProto) -> None:
    """Number the values that the quantizer added, and give quantized weights the names that the float ones had."""
    fixed = {value.name for value in (*graph.input, *graph.output)}
    nodes = [node for inner in graphs(graph) for node in inner.node]
    added = [
        value
        for node in nodes
        for value in node.output
        if value not in fixed and (node.op_type in PAIRS or value.endswith(ADDED_VALUES))
    ]
    weights = [tensor.name for tensor in graph.initializer]
    kept = {value for node in nodes for value in (*node.input, *node.output)} | set(weights) | fixed
    kept -= set(added)
    numbers = (name for i in itertools.count() if (name := f"v{i}") not in kept)
    names = dict(zip(added, numbers, strict=False))
    for weight in weights:
        short = weight.removesuffix("_quantized")
        if short not in kept:
            names[weight] = short
            kept.add(short)
    rename(graph, names)


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
