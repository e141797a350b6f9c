"""Static checks of an ONNX file against what TensorRT 10 and 11 take: operators, types, placement of Q/DQ.

Q/DQ rules: NVIDIA, "Working with Quantized Types" and "Explicit Quantization" (TensorRT 11): int8 is signed and
symmetric, activations have one scale, weights one per output channel; a bias is added in the accumulator and takes
none. int4 is for weights alone, with a scale per block of 64 or 128 ("Quantized Types and Schemes").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx

from edgekit.errors import UnsupportedError
from edgekit.toolchains.onnx.graph import Graph
from edgekit.toolchains.onnx.passes.names import graphs
from edgekit.toolchains.tensorrt import operators

#: ``ITopKLayer`` of TensorRT 10 and 11, and the most dimensions of a tensor (``nvinfer1::Dims::MAX_DIMS``).
MOST_K, MOST_DIMENSIONS = 3840, 8
#: Operators with weights -> axis of the output channel in the weight; Gemm and MatMul: see ``channel_axis``.
PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
#: Weights that share a scale in int4: what TensorRT documents. TensorRT-RTX 1.7 builds blocks of 32 as well.
BLOCKS = (64, 128)


def findings(model: onnx.ModelProto) -> list[str]:
    """Say what TensorRT would refuse, one sentence each, naming operator and node; empty where nothing is."""
    return [*unsupported(model), *_quantization(Graph(model))]


def refuse(model: onnx.ModelProto) -> None:
    """Raise ``UnsupportedError`` with everything in the model that TensorRT's parser does not take."""
    if wrong := findings(model):
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise UnsupportedError(
            f"TensorRT does not take this model: {'; '.join(wrong[:3])}{more}",
            hint=f"Replace these operators in the model; the list is {operators.DOCUMENT}.",
        )


def unsupported(model: onnx.ModelProto) -> Iterator[str]:
    """Opset, operators, element types and restrictions that the parser does not take."""
    first, last = operators.OPSETS
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and not first <= opset.version <= last:
            yield f"opset {opset.version} is outside of {first} to {last}"
    outer = Graph(model)
    for graph in graphs(model.graph):
        for node in graph.node:
            yield from _node(outer, node)


def _node(graph: Graph, node: onnx.NodeProto) -> Iterator[str]:
    where = f"{node.op_type}:{node.name}"
    known = operators.SUPPORTED.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if known is None:
        domain = f"{node.domain}." if node.domain else ""
        yield f"{where}: TensorRT has no operator {domain}{node.op_type}"
        return
    if node.op_type not in operators.CONTROL:
        found = _type(graph, node)
        if found and found not in known:
            yield f"{where}: TensorRT's {node.op_type} takes {', '.join(sorted(known))}, not {found}"
    for name in (*node.input, *node.output):
        if len(graph.shape(name)) > MOST_DIMENSIONS:
            yield f"{where}: {name!r} has {len(graph.shape(name))} dimensions, at most {MOST_DIMENSIONS} are supported"
    restriction = _RESTRICTIONS.get(node.op_type)
    if restriction is not None and (reason := restriction(graph, node)):
        yield f"{where}: {reason}"


def _type(graph: Graph, node: onnx.NodeProto) -> str:
    """Element type of a node's data; empty where it is unknown (a value of an inner graph)."""
    position = operators.DATA.get(node.op_type, 0)
    name = node.output[0] if position is None else node.input[position] if position < len(node.input) else ""
    if name in graph.constants:
        return str(graph.constants[name].dtype.name)
    kind = graph.values[name].elem_type if name in graph.values else 0
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).name if kind else ""


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values, strings decoded."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def _pool(graph: Graph, node: onnx.NodeProto) -> str:
    given = attributes(node)
    if len(given["kernel_shape"]) not in (1, 2, 3):  # a 1-D window becomes a 2-D one of height 1 in the parser
        return f"only 1-D to 3-D windows are supported, not {len(given['kernel_shape'])}-D"
    if given.get("p", 2) not in (1, 2):
        return f"p = {given['p']} is not supported, 1 and 2 are"
    if any(step != 1 for step in given.get("dilations", ())):
        return f"windows with dilations {given['dilations']} are not supported"
    return "the output Indices is not supported" if len(node.output) > 1 and node.output[1] else ""


def _lstm(graph: Graph, node: onnx.NodeProto) -> str:
    given = attributes(node)
    wrong = [f"{name} = {given[name]}" for name in ("layout", "input_forget") if given.get(name, 0) != 0]
    return f"{' and '.join(wrong)} must be 0" if wrong else ""


def _layer_normalization(graph: Graph, node: onnx.NodeProto) -> str:
    return "only the first output is supported" if any(node.output[1:]) else ""


def _resize(graph: Graph, node: onnx.NodeProto) -> str:
    allowed = {
        "mode": ("nearest", "linear", "cubic"),
        "coordinate_transformation_mode": (
            "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners",
        ),
        "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
        "keep_aspect_ratio_policy": ("stretch",),
        "antialias": (0,),
    }  # fmt: skip
    given = attributes(node)
    wrong = [
        f"{name} = {given[name]!r}" for name, values in allowed.items() if given.get(name, values[0]) not in values
    ]
    if wrong:
        return f"{' and '.join(wrong)} is not supported"
    rank = len(graph.shape(node.input[0]))
    return (
        f"mode = 'cubic' takes 2-D images, not {rank - 2}-D ones" if given.get("mode") == "cubic" and rank > 4 else ""
    )


def _grid_sample(graph: Graph, node: onnx.NodeProto) -> str:
    """TensorRT's layer takes 4 dimensions (NvInfer.h, ``IGridSampleLayer``; NVIDIA/TensorRT#4618, #3207)."""
    rank = len(graph.shape(node.input[0]))
    return f"only 2-D images are supported, not {rank - 2}-D volumes" if rank not in (0, 4) else ""


def _top_k(graph: Graph, node: onnx.NodeProto) -> str:
    """``ITopKLayer``: K at most 3840, and known when the engine is built."""
    k = graph.constants.get(node.input[1])
    if k is None:
        return "" if node.input[1] in graph.fixed else "K must be constant"
    return f"K = {int(k.reshape(-1)[0])} is above 3840" if k.max() > MOST_K else ""


def _constant_axes(graph: Graph, node: onnx.NodeProto) -> str:
    computed = len(node.input) > 1 and node.input[1] and node.input[1] not in graph.fixed
    return "the axes must be constant" if computed else ""


def _scatter(graph: Graph, node: onnx.NodeProto) -> str:
    given = attributes(node).get("reduction", "none")
    return f"reduction = {given!r} is not supported" if given != "none" else ""


_RESTRICTIONS: Mapping[str, Callable[[Graph, onnx.NodeProto], str]] = {
    "AveragePool": _pool,
    "MaxPool": _pool,
    "LpPool": _pool,
    "LSTM": _lstm,
    "LayerNormalization": _layer_normalization,
    "Resize": _resize,
    "GridSample": _grid_sample,
    "Scatter": _scatter,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "CumSum": _constant_axes,
    "TopK": _top_k,
    **{name: _constant_axes for name in operators.SUPPORTED if name.startswith("Reduce")},
}


def _quantization(graph: Graph) -> Iterator[str]:
    for node in graph.model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from _pair(graph, node)
        elif node.op_type in PRODUCTS:
            yield from _product(graph, node)


def _pair(graph: Graph, node: onnx.NodeProto) -> Iterator[str]:
    """Zero point 0 and int8; constant, positive scales; one scale for an activation."""
    where = f"{node.op_type}:{node.name}"
    zero = graph.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if zero is None and node.op_type == "QuantizeLinear":
        yield f"{where}: without a zero point the output is uint8; TensorRT's int8 is signed"
    elif zero is not None and (zero.dtype != np.int8 or np.any(zero)):
        largest = int(np.abs(zero.astype(np.int64)).max(initial=0))
        yield f"{where}: the zero point must be int8 and 0, not {zero.dtype.name} up to {largest}"
    stored = graph.constants.get(node.input[0])
    block = attributes(node).get("block_size", 0)
    if stored is not None and stored.dtype.name == "int4" and block not in BLOCKS:
        yield f"{where}: int4 weights have a scale per block of 64 or 128, not of {block}"
    scale = graph.constants.get(node.input[1])
    if scale is None:
        yield f"{where}: the scale must be constant (TensorRT has no dynamic int8)"
        return
    if not np.isfinite(scale).all() or np.any(np.asarray(scale, np.float64) <= 0):
        yield f"{where}: the scale must be positive and finite"
    if scale.size > 1 and node.input[0] not in graph.fixed and node.op_type == "QuantizeLinear":
        yield f"{where}: an activation has {scale.size} scales; TensorRT takes one"


def _product(graph: Graph, node: onnx.NodeProto) -> Iterator[str]:
    """Weights per output channel or per tensor; no Q/DQ on the bias."""
    where = f"{node.op_type}:{node.name}"
    bias = graph.producer.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    if bias is not None and bias.op_type == "DequantizeLinear" and node.input[2] in graph.fixed:
        yield f"{where}: the bias is quantized; TensorRT takes it in float"
    weight = graph.producer.get(node.input[1])
    if weight is None or weight.op_type != "DequantizeLinear" or node.input[1] not in graph.fixed:
        return
    scale = graph.constants.get(weight.input[1])
    given = attributes(weight)
    axis, wanted = given.get("axis", 1), channel_axis(node, graph.shape(weight.input[0]))
    if given.get("block_size", 0):
        if axis == wanted:
            yield f"{where}: the weight has its blocks along its output channels; TensorRT sums over a block"
    elif scale is not None and scale.size > 1 and axis != wanted:
        yield f"{where}: the weight is quantized along axis {axis}; TensorRT takes its output channels, axis {wanted}"


def channel_axis(node: onnx.NodeProto, shape: tuple[int, ...]) -> int:
    """Axis of the output channels in a product's weight of this shape."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attributes(node).get("transB", 0) else 1
    return 1 if node.op_type == "ConvTranspose" else len(shape) - 1
