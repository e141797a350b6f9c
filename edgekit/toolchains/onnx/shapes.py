"""Types and shapes of all values of an ONNX model, ONNX Runtime's own operators included."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import onnx

#: ONNX Runtime's own operators, which ONNX does not know -> one of ONNX's with the same shape of the result, and which
#: of the inputs it takes.
_LIKE: dict[str, tuple[str, tuple[int, ...]]] = {
    "DynamicQuantizeLSTM": ("LSTM", (0, 1, 2)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    **dict.fromkeys(
        (
            "BiasGelu", "FastGelu", "Gelu", "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "QuickGelu",
            "SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
        ),
        ("Identity", (0,)),
    ),
}  # fmt: skip
#: Elements from which on an initializer is a weight and no shape that others are computed from.
_LARGE = 1024


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """The model's graph with a type and shape for every value that ONNX can infer; weights left out.

    Nodes are in the order of the model's own. Without its weights a model of more than 2 GiB can be inferred, too.
    """
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph, source = skeleton.graph, model.graph
    graph.name = source.name
    for side in ("node", "input", "output", "value_info"):
        getattr(graph, side).extend(getattr(source, side))
    given = {value.name for value in source.input}
    stored = {tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in source.initializer}
    for tensor in source.initializer:
        if math.prod(tensor.dims) < _LARGE:
            graph.initializer.append(tensor)
        elif tensor.name not in given:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    for node in _nodes(graph):
        if node.domain == "com.microsoft" and node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            _widen(graph, node, stored)
        elif node.domain == "com.microsoft" and node.op_type in _LIKE:
            kind, taken = _LIKE[node.op_type]
            names = [node.input[i] for i in taken]
            del node.input[:]
            node.input.extend(names)
            node.op_type, node.domain = kind, ""
    return onnx.shape_inference.infer_shapes(skeleton, data_prop=True).graph


def _widen(graph: onnx.GraphProto, node: onnx.NodeProto, stored: Mapping[str, tuple[int, tuple[int, ...]]]) -> None:
    """Make a product or lookup of one with blocks of integers, in place, of a float input with the elements' shape."""
    given = {a.name: a.i for a in node.attribute}
    product = node.op_type == "MatMulNBits"
    weights = node.input[1 if product else 0]
    kind, shape = stored.get(weights, (0, ()))
    if product:
        shape = (given["K"], given["N"])
    elif shape and kind == onnx.TensorProto.UINT8:  # several elements in a byte
        shape = (*shape[:-1], shape[-1] * 8 // given["bits"])
    name = f"{weights}/{node.op_type}"
    if all(value.name != name for value in graph.input):
        graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    inputs = [node.input[0], name] if product else [name, node.input[1]]
    axis = given.get("gather_axis", 0)
    del node.input[:], node.attribute[:]
    node.input.extend(inputs)
    node.op_type, node.domain = "MatMul" if product else "Gather", ""
    if not product:
        node.attribute.append(onnx.helper.make_attribute("axis", axis))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)
