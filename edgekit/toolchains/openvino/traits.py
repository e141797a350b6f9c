"""An OpenVINO IR as the graph that traits are found in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openvino as ov

from edgekit.toolchains._shared.traits import Body, Graph, Node, by_op
from edgekit.toolchains.openvino.export import LOOPS, read

_KINDS = by_op({
    "matmul": ("MatMul", "Einsum"),
    "conv": ("Convolution", "GroupConvolution"),
    "conv_transpose": ("ConvolutionBackpropData", "GroupConvolutionBackpropData"),
    "cell": ("LSTMSequence", "GRUSequence", "RNNSequence", "LSTMCell", "GRUCell", "RNNCell"),
    "attention": ("ScaledDotProductAttention",),
    "softmax": ("Softmax",),
    "sigmoid": ("Sigmoid", "HardSigmoid"),
    "multiply": ("Multiply",),
    "branch": ("If",),
    "loop": LOOPS,
    "move": (
        "Convert", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Slice", "StridedSlice", "Split",
        "VariadicSplit", "Concat", "Broadcast", "Tile", "Pad", "Gather", "Select", "Result",
    ),
})  # fmt: skip


def graph(file: Path) -> Graph:
    """Read a file that was verified before."""
    return of(read(file))


def of(model: ov.Model) -> Graph:
    """A model, or the body of a loop in one. Inputs and outputs go by their tensors' names."""
    named = {_port(port.get_node().output(0)): port.any_name for port in model.inputs if port.names}
    nodes, constants = [], {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant":
            constants[_port(node.output(0))] = node.data
        elif node.get_type_name() != "Parameter":
            nodes.append(_node(node, named))
    return Graph(tuple(nodes), constants)


def _port(value: Any) -> str:
    return f"{value.get_node().get_name()}:{value.get_index()}"


def _node(node: Any, named: Mapping[str, str]) -> Node:
    kind = node.get_type_name()
    inputs = [named.get(_port(v), _port(v)) for v in node.input_values()]
    groups = channels = 1
    if kind.startswith("GroupConvolution"):
        # (groups, output, input channels ...), of a transposed one input before output.
        shape = list(node.input_value(1).shape)
        groups, channels = shape[0], shape[0] * shape[1 if kind.endswith("BackpropData") else 2]
    return Node(
        _KINDS.get(kind, "other"), kind, tuple(inputs), tuple(_outputs(node)), groups, channels,
        (_body(node, inputs),) if kind in LOOPS else (),
    )  # fmt: skip


def _outputs(node: Any) -> Iterator[str]:
    for value in node.outputs():
        named = node.get_type_name() == "Result" and value.names
        yield value.any_name if named else _port(value)


def _body(loop: Any, inputs: list[str]) -> Body:
    inside = loop.get_function()
    graph = of(inside)
    parameters = [_port(p.output(0)) for p in inside.get_parameters()]
    results = [_port(r.input_value(0)) for r in inside.get_results()]
    descriptions = loop.get_input_descriptions()
    given = {parameters[d.body_parameter_index]: inputs[d.input_index] for d in descriptions}
    again = tuple(
        (results[d.body_value_index], parameters[d.body_parameter_index])
        for d in descriptions
        if type(d).__name__ == "MergedInputDescription"
    )
    return Body(Graph(graph.nodes, graph.constants, again), given)
