"""An ONNX file as the graph that traits are found in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import numpy_helper

from edgekit.toolchains._shared.traits import Body, Graph, Node, by_op
from edgekit.toolchains.onnx.graph import carried

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Constants = Mapping[str, NDArray[np.generic]]

_KINDS = by_op({
    "matmul": ("MatMul", "Gemm", "Einsum"),
    "conv": ("Conv",),
    "conv_transpose": ("ConvTranspose",),
    "cell": ("LSTM", "GRU", "RNN"),
    "attention": ("Attention", "MultiHeadAttention", "GroupQueryAttention"),
    "softmax": ("Softmax",),
    "sigmoid": ("Sigmoid", "HardSigmoid"),
    "multiply": ("Mul",),
    "loop": ("Loop", "Scan"),
    "branch": ("If",),
    "move": (
        "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split",
        "Concat", "Expand", "Tile", "Pad", "Gather", "Dropout", "Where",
    ),
})  # fmt: skip


def graph(file: Path) -> Graph:
    """Read a file that was verified before."""
    return of(onnx.load(file).graph)


def of(found: onnx.GraphProto) -> Graph:
    """A graph, or the body of a loop or branch in one."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.initializer}
    for node in found.node:
        if node.op_type == "Constant":
            attribute = node.attribute[0]
            tensor = attribute.name == "value"
            constants[node.output[0]] = numpy_helper.to_array(attribute.t) if tensor else _plain(attribute)
    nodes = [node for node in found.node if node.op_type != "Constant"]
    return Graph(tuple(_node(node, constants) for node in nodes), constants)


def _plain(attribute: onnx.AttributeProto) -> Any:
    import numpy as np

    return np.asarray(onnx.helper.get_attribute_value(attribute))


def _node(node: onnx.NodeProto, constants: Constants) -> Node:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute if a.type != a.GRAPH}
    groups = attributes.get("group", 1)
    weights = constants.get(node.input[1]) if node.op_type in ("Conv", "ConvTranspose") else None
    channels = 0
    if weights is not None:  # of a transposed convolution the first axis has all input channels
        channels = weights.shape[1] * groups if node.op_type == "Conv" else weights.shape[0]
    return Node(
        _KINDS.get(node.op_type, "other"), node.op_type, tuple(filter(None, node.input)),
        tuple(filter(None, node.output)), groups, channels, tuple(_bodies(node)),
    )  # fmt: skip


def _bodies(node: onnx.NodeProto) -> Iterator[Body]:
    for attribute in node.attribute:
        if attribute.type != attribute.GRAPH:
            continue
        inside, body = of(attribute.g), attribute.g
        start = {"Loop": 2, "Scan": 0}.get(node.op_type, len(node.input))  # behind a trip count and conditions
        given = dict(zip((value.name for value in body.input[start:]), node.input[start:], strict=True))
        kept = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity"}
        again = tuple((into if kept.get(after) == into else after, into) for into, _, after in carried(node, body))
        yield Body(Graph(inside.nodes, inside.constants, again), given)
