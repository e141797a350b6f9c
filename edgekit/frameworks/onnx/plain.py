"""ONNX graphs as they come, made plain: weights that are inputs, operators without a name, weights in integers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import numpy_helper

from edgekit.errors import UnsupportedError, UsageError
from edgekit.frameworks.onnx import runs
from edgekit.sources import allowed
from edgekit.sources.onnx_file.parts import nodes
from edgekit.sources.onnx_model import MICROSOFT

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx",)

#: ONNX's own operators that compute in integers what was a float once.
_INTEGER = frozenset((
    "QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
))  # fmt: skip


def plain(given: str, model: onnx.ModelProto) -> tuple[str, ...]:
    """Make a graph plain, in place; returns what was done that the user must know, a sentence each.

    Raises:
        UnsupportedError: it is quantized already: what it was in float cannot be told.
        UsageError: it has no input or no output.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in stored]  # up to IR version 3, weights are inputs, too
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # from here on they are none
    for kind, side in (("input", graph.input), ("output", graph.output)):
        if not side:
            raise UsageError(
                f"{given} has no {kind}{', and computes the same every time' if kind == 'input' else ''}",
                hint="Export a model that takes a sample and gives an answer.",
            )
    note = _dequantized(given, model)
    _refuse_quantized(given, model)
    _name(graph)
    del graph.value_info[:]  # may speak of other shapes and types than those that it gets
    return (note,) if note else ()


def _refuse_quantized(given: str, model: onnx.ModelProto) -> None:
    own = allowed.lists("onnx")["quantized"]
    found = [
        node
        for node in nodes(model.graph)
        if (node.op_type in own if node.domain == MICROSOFT else node.op_type in _INTEGER and not node.domain)
    ]
    if found:
        kinds = ", ".join(f"{kind} x{count}" for kind, count in Counter(node.op_type for node in found).most_common(4))
        raise UnsupportedError(
            f"{given} is quantized already: {kinds}, the first at {found[0].output[0]!r}",
            hint="Hand in the float model: the target's own quantization is proven against it. As it is, "
            "`edgekit inspect` and `edgekit benchmark` take the file.",
        )


def _dequantized(given: str, model: onnx.ModelProto) -> str:
    """Restore weights that are stored in integers and multiplied in float: the numbers are the same."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    kept, count = [], 0
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.domain or not all(n in stored for n in node.input if n):
            kept.append(node)
            continue
        alone = onnx.helper.make_graph(
            [node], "one", [], [onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)],
            [stored[name] for name in dict.fromkeys(node.input) if name],
        )  # fmt: skip
        whole = onnx.helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
        [array] = runs.Unoptimized(whole, given)([])
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        count += 1
    if not count:
        return ""
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in nodes(graph) for name in node.input} | {value.name for value in graph.output}
    left = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(left)
    return f"{count} weights were quantized already: they are dequantized, and taken for the float."


def _name(graph: onnx.GraphProto) -> None:
    """Give every operator a name of its own, by which layers are found."""
    every = list(nodes(graph))
    taken = {node.name for node in every}
    seen: set[str] = set()
    for node in every:
        if not node.name or node.name in seen:
            node.name = next(name for name in _numbered(node.name or node.op_type) if name not in taken)
            taken.add(node.name)
        seen.add(node.name)


def _numbered(name: str) -> Iterator[str]:
    return (f"{name}_{number}" for number in itertools.count(1))
