"""float16 ONNX files, and the arithmetic by which they are proven.

TensorRT 11 has strong typing only (the builder flag FP16 is gone; NVIDIA, "Migrating from TensorRT 10.x to 11.x"): the
engine computes in the types of the file, so the file's tensors are float16. Inputs and outputs stay float32.

ONNX Runtime's CPU kernels are float32: it opens such a file by widening every value and drops the roundings between,
so that a product of 1000 and 1000 is a million and not infinite. ``rounded`` therefore spells the roundings out.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request
from edgekit.toolchains.onnx.export import finish
from edgekit.toolchains.onnx.passes.names import graphs
from edgekit.toolchains.onnx.quantize import read_float
from edgekit.toolchains.tensorrt.checks import refuse

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
#: Inputs that ONNX fixes to float32: positions by operator.
_ALWAYS_FLOAT = {"Resize": (1, 2), "Upsample": (1,)}
#: Operators that only move or choose values: their results need no rounding.
_MOVES = frozenset(
    (
        "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "MaxPool", "Pad", "Relu",
        "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
    )
)  # fmt: skip


def half(model: LoadedModel | None, request: Request) -> Converted:
    """Turn the verified fp32 file to float16 throughout; inputs and outputs stay float32."""
    proto = read_float(request)
    clipped = to_half(proto)
    refuse(proto)
    done = finish(proto, request)
    notes = (f"{clipped} constants beyond float16's range were set to its largest value",) if clipped else ()
    return Converted(done.file, notes)


def to_half(model: onnx.ModelProto) -> int:
    """Turn all float32 values of a model to float16, in place; returns how many constants were out of range."""
    clipped = 0
    fixed = _kept(model)
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.name not in fixed:
                clipped += _narrow(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR and node.output[0] not in fixed:
                    clipped += _narrow(attribute.t)
                elif attribute.name in ("to", "dtype") and attribute.i == _FLOAT:
                    attribute.i = _HALF
            if node.op_type == "ConstantOfShape" and not node.attribute:
                node.attribute.append(helper.make_attribute("value", helper.make_tensor("value", _HALF, [1], [0.0])))
        # Bodies have inputs and outputs of their own; those of the model keep their type.
        inner = () if graph is model.graph else (*graph.input, *graph.output)
        for value in inner:
            if value.type.tensor_type.elem_type == _FLOAT:
                value.type.tensor_type.elem_type = _HALF
        del graph.value_info[:]
    _cast_ends(model.graph)
    return clipped


def _kept(model: onnx.ModelProto) -> set[str]:
    """Names of constants that ONNX wants in float32."""
    return {
        node.input[position]
        for graph in graphs(model.graph)
        for node in graph.node
        for position in _ALWAYS_FLOAT.get(node.op_type, ())
        if position < len(node.input) and node.input[position]
    }


def _narrow(tensor: onnx.TensorProto) -> int:
    """Turn a float32 tensor to float16; 1 where finite values had to be clipped."""
    if tensor.data_type != _FLOAT:
        return 0
    values = numpy_helper.to_array(tensor)
    finite = np.isfinite(values)
    narrow = np.where(finite, np.clip(values, -_LARGEST, _LARGEST), values)
    # A small epsilon must not become 0: it stands under a square root or a fraction.
    small = (narrow != 0) & (np.abs(narrow) < _SMALLEST)
    narrow = np.where(small, np.copysign(_SMALLEST, narrow), narrow).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(narrow, tensor.name))
    return int(np.any(finite & (np.abs(values) > _LARGEST)))


def _cast_ends(graph: onnx.GraphProto) -> None:
    """Cast float32 inputs to float16 and float16 results to float32 outputs."""
    inputs = [v.name for v in graph.input if v.type.tensor_type.elem_type == _FLOAT]
    outputs = [v.name for v in graph.output if v.type.tensor_type.elem_type == _FLOAT]
    names = {name: f"{name}/half" for name in (*inputs, *outputs)}
    for inner in graphs(graph):
        for node in inner.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
    before = [helper.make_node("Cast", [n], [names[n]], f"{n}/narrow", to=_HALF) for n in inputs]
    after = [helper.make_node("Cast", [names[n]], [n], f"{n}/widen", to=_FLOAT) for n in outputs]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 model that rounds to float16 wherever a float16 model's operators do.

    Sums inside of an operator are float32, as on a GPU's matrix units; whatever leaves it is float16, overflow
    included. Explicit pairs of casts are kept by ONNX Runtime, unlike those that it inserts itself.
    """
    done = onnx.shape_inference.infer_shapes(model, data_prop=True)
    kinds = {v.name: v.type.tensor_type.elem_type for g in graphs(done.graph) for v in (*g.value_info, *g.output)}
    for graph in graphs(done.graph):
        nodes: list[onnx.NodeProto] = []
        for tensor in graph.initializer:
            _widen(tensor)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR:
                    _widen(attribute.t)
            nodes.append(node)
            if node.op_type == "Cast" and node.attribute[0].i == _HALF:
                nodes.extend(_split(node, 0, _FLOAT))
                continue
            for index, name in enumerate(node.output):
                if kinds.get(name) == _HALF and node.op_type not in _MOVES and node.op_type != "Constant":
                    nodes.extend(_split(node, index, _HALF))
        del graph.node[:]
        graph.node.extend(nodes)
        del graph.value_info[:]
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type == _HALF:
                value.type.tensor_type.elem_type = _FLOAT
    return done


def _split(node: onnx.NodeProto, index: int, first: int) -> list[onnx.NodeProto]:
    """Rename an output and lead it back to its name: through float16 and float32, or float32 alone."""
    name = node.output[index]
    node.output[index] = f"{name}/exact"
    if first == _FLOAT:
        return [helper.make_node("Cast", [f"{name}/exact"], [name], to=_FLOAT)]
    narrow = helper.make_node("Cast", [f"{name}/exact"], [f"{name}/narrow"], to=_HALF)
    return [narrow, helper.make_node("Cast", [f"{name}/narrow"], [name], to=_FLOAT)]


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == _HALF:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
