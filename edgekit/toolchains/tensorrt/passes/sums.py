"""Running sums of integers, which TensorRT has of floating-point numbers alone: positions counted from a mask are some.

They are computed in float32, which holds every integer up to 2^24.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from edgekit.toolchains.onnx.graph import Graph
from edgekit.toolchains.onnx.passes.names import graphs

_INTEGERS = (TensorProto.INT32, TensorProto.INT64)


def in_float(model: onnx.ModelProto) -> int:
    """Rewrite ``CumSum`` of integers in place as one of float32 between two casts; returns how many there were."""
    count = 0
    values = Graph(model).values  # a file need not say the types of what lies within
    for graph in graphs(model.graph):
        nodes = []
        for node in graph.node:
            kind = values[node.output[0]].elem_type if node.output and node.output[0] in values else 0
            if node.op_type != "CumSum" or kind not in _INTEGERS:
                nodes.append(node)
                continue
            count += 1
            taken, made = f"{node.output[0]}_taken", f"{node.output[0]}_made"
            for name in (taken, made):
                value = graph.value_info.add(name=name)
                value.type.tensor_type.CopyFrom(values[node.output[0]])
                value.type.tensor_type.elem_type = TensorProto.FLOAT
            nodes.append(helper.make_node("Cast", [node.input[0]], [taken], f"{node.name}/taken", to=TensorProto.FLOAT))
            back = helper.make_node("Cast", [made], [node.output[0]], f"{node.name}/made", to=kind)
            node.input[0], node.output[0] = taken, made
            nodes += [node, back]
        del graph.node[:]
        graph.node.extend(nodes)
    return count
