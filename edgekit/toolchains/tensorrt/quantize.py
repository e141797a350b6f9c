"""ONNX files of 8 and 4 bits as TensorRT 10 and 11 want them: explicit, symmetric Q/DQ; implicit calibration is gone.

Placement follows NVIDIA's recommendations ("Working with Quantized Types", Q/DQ layer placement): all inputs of
weighted operators are quantized, their outputs are not, so that a following batch norm, activation or sum is fused into
them; of a sum behind a convolution the other, residual input is quantized. Weights are int8 initializers behind a
``DequantizeLinear``, biases stay float.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.version_converter
from onnx import helper, numpy_helper

from edgekit.errors import UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.scheme import Scheme
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import int8, rules
from edgekit.toolchains._shared.calibration import calibration_of, observers
from edgekit.toolchains.onnx.export import finish, unrolled
from edgekit.toolchains.onnx.graph import Graph
from edgekit.toolchains.onnx.passes.names import graphs, rename
from edgekit.toolchains.onnx.passes.observing import bounded, observe
from edgekit.toolchains.onnx.passes.preparing import prepared_file
from edgekit.toolchains.onnx.quantize import layers, read_float, share_constants, values
from edgekit.toolchains.tensorrt.checks import PRODUCTS, attributes, channel_axis, refuse

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_NODES = 20_000
#: The first opset with int4 and scales per block, and the version of the format that came with it.
_BLOCKED, _IR = 21, 10


def qdq(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize the verified fp32 file; recurrent cells stay float, which TensorRT runs in float as well."""
    return _written(_prepared(read_float(request)), request)


def unrolled_qdq(model: LoadedModel | None, request: Request) -> Converted:
    """Quantize recurrent cells too, as matrix products per time step: TensorRT has no int8 LSTM or GRU."""
    proto = unrolled(model)
    if len(proto.graph.node) > _MOST_NODES:
        raise UnsupportedError(
            f"unrolled, the recurrent cells make {len(proto.graph.node)} operators; at most {_MOST_NODES}",
            hint="Take tensorrt-fp16, which keeps them as one operator.",
        )
    with tempfile.TemporaryDirectory() as folder:
        named = onnx.load(finish(proto, Request(**{**vars(request), "folder": Path(folder)})).file)
    done = _written(share_constants(_prepared(named)), request)
    return replace(done, notes=("recurrent cells are unrolled to one set of matrix products per time step",))


def in_blocks(model: LoadedModel | None, request: Request) -> Converted:
    """Store the weights of linear layers in int4 blocks, and those of all else that has no state in int8.

    Activations stay in float, and so do recurrent cells.
    """
    proto = _prepared(read_float(request))
    if next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")) < _BLOCKED:
        proto = onnx.version_converter.convert_version(proto, _BLOCKED)
        proto.ir_version = max(proto.ir_version, _IR)
    found = rules.outcomes(request, layers(proto) if request.layers else (), able=_by_layer)
    graph = Graph(proto)
    weights = {**place(graph, found.floats).weights, **_tables(graph, found.floats)}
    blocks = {
        (index, position)
        for index, position in weights
        if (node := proto.graph.node[index]).op_type in ("Gemm", "MatMul") and position == 1
        if node.name not in found.schemes and len(shape := graph.shape(node.input[1])) == 2
        if math.prod(shape) > (request.scheme.group or 0)  # one scale in all is no scale per block to its parser
        if not request.scheme.too_large_for((0, shape[1 - channel_axis(node, shape)]))
    }
    insert(proto, Placement({}, weights, frozenset(blocks)), {}, request.scheme.group)
    refuse(proto)
    return replace(finish(proto, request), kept=found.kept)


def _by_layer(scheme: Scheme) -> bool:
    """Whether ``in_blocks`` can give a scheme to a single layer: it is what others get."""
    return scheme.weights_only and scheme.weights == "int8" and scheme.granularity == "channel"


def _tables(graph: Graph, kept: Collection[str]) -> dict[tuple[int, int], str]:
    """Float matrices that rows are looked up in."""
    return {
        (index, 0): node.input[0]
        for index, node in enumerate(graph.model.graph.node)
        if node.op_type == "Gather" and node.name not in kept and attributes(node).get("axis", 0) == 0
        if (table := graph.constants.get(node.input[0])) is not None and table.ndim == 2 and table.dtype == np.float32
    }


def _prepared(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold and fuse (see ``prepared_file``), and give what was made up on the way names of our own.

    ONNX Runtime makes up the same names (``gemm_input_shape``) when it opens the file, and then refuses it: "attempt to
    replace the existing tensor".
    """
    before = _names(model)
    with tempfile.TemporaryDirectory() as folder:
        prepared = onnx.load(prepared_file(model, folder))
    rename(prepared.graph, {name: f"prepared/{name}" for name in sorted(_names(prepared) - before)})
    return prepared


def _names(model: onnx.ModelProto) -> set[str]:
    inner = {name for node in model.graph.node for name in (*node.input, *node.output) if name}
    return inner | {tensor.name for tensor in model.graph.initializer}


def _written(model: onnx.ModelProto, request: Request) -> Converted:
    found = rules.outcomes(request, layers(model) if request.layers else ())
    wanted = rules.ranges(request, values(model) if request.ranges else {}, symmetric=True)
    placement = place(Graph(model), found.floats)
    seen = observers(request, placement.activations, symmetric=True, bounded=bounded(model))
    observe(model, seen, calibration_of(request))
    tiny = float(np.finfo(np.float32).tiny)
    scales = {name: max(tiny, *map(abs, observer.range())) / int8.LARGEST for name, observer in seen.items()}
    for name, one in wanted.items():
        if name not in scales:
            rules.without_own(one.tensor, scales)
        scales[name] = one.scale
    insert(model, placement, scales)
    refuse(model)
    return replace(finish(model, request), kept=found.kept)


@dataclass(frozen=True)
class Placement:
    """Which inputs are quantized: (index of the node, position of the input) -> name of the value.

    Attributes:
        inputs: activations, one scale each.
        weights: constants, one scale per output channel.
        blocks: those of them that are int4, with a scale per block.
    """

    inputs: Mapping[tuple[int, int], str]
    weights: Mapping[tuple[int, int], str]
    blocks: frozenset[tuple[int, int]] = frozenset()

    @property
    def activations(self) -> tuple[str, ...]:
        """Names of the quantized activations, each once, in the order of their first reader."""
        return tuple(dict.fromkeys(self.inputs.values()))


def place(graph: Graph, kept: Collection[str] = ()) -> Placement:
    """Decide which inputs of which operators are quantized, none of those ``kept`` in float; see the module."""
    inputs: dict[tuple[int, int], str] = {}
    weights: dict[tuple[int, int], str] = {}
    for index, node in enumerate(graph.model.graph.node):
        if node.name and node.name in kept:
            continue
        if node.op_type in PRODUCTS and node.output[0] not in graph.fixed:
            for position, name in enumerate(node.input[:2]):
                if name in graph.constants:
                    weights[index, position] = name
                elif name not in graph.fixed:
                    inputs[index, position] = name
        elif node.op_type == "Add" and (residual := _residual(graph, node)) is not None:
            inputs[index, residual] = node.input[residual]
    return Placement(inputs, weights)


def _residual(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Position of the residual input of a sum that is fused into a convolution; None where there is none.

    Of two convolutions (a projection shortcut) the later one fuses the sum.
    """
    if any(name in graph.fixed for name in node.input) or graph.shape(node.input[0]) != graph.shape(node.input[1]):
        return None
    order = {n.output[0]: index for index, n in enumerate(graph.model.graph.node)}
    fused = [
        (order[name], position)
        for position, name in enumerate(node.input)
        if (source := graph.producer.get(name)) is not None
        and source.op_type in ("Conv", "ConvTranspose")
        and len(graph.readers[name]) == 1
    ]
    return 1 - max(fused)[1] if fused else None


def insert(model: onnx.ModelProto, placement: Placement, scales: Mapping[str, float], group: int | None = None) -> None:
    """Put Q/DQ pairs behind activations and store weights as int8, or as int4 in blocks of ``group``, in place."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors |= {
        node.output[0]: _named(node.attribute[0].t, node.output[0])
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    nodes: list[onnx.NodeProto] = []
    made: dict[tuple[str, int | None, int | None], str] = {}
    for value in model.graph.input:
        nodes.extend(_pair(model.graph, value.name, scales))
    for index, node in enumerate(model.graph.node):
        renamed = list(node.input)
        for position, name in enumerate(node.input):
            if (index, position) in placement.inputs:
                renamed[position] = f"{name}/dequantized"
            elif (index, position) in placement.weights:
                axis = _axis(node, position, tensors[name])
                key = (name, axis, group if (index, position) in placement.blocks else None)
                if key not in made:
                    made[key] = "/".join([name, "restored", *(str(one) for one in key[1:] if one is not None)])
                    nodes.append(_weight(model.graph, tensors[name], axis, made[key], key[2]))
                renamed[position] = made[key]
        node.input[:] = renamed
        nodes.append(node)
        for name in node.output:
            nodes.extend(_pair(model.graph, name, scales))
    everywhere = [*nodes, *(node for inner in list(graphs(model.graph))[1:] for node in inner.node)]  # loops, branches
    read = {name for node in everywhere for name in node.input} | {value.name for value in model.graph.output}
    del model.graph.node[:]
    model.graph.node.extend(node for node in nodes if node.op_type != "Constant" or node.output[0] in read)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _named(tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
    copy = onnx.TensorProto()
    copy.CopyFrom(tensor)
    copy.name = name
    return copy


def _axis(node: onnx.NodeProto, position: int, tensor: onnx.TensorProto) -> int | None:
    """Axis of a weight's scales; None for one scale."""
    if node.op_type == "Gather":
        return 0
    if len(tensor.dims) < 2 or position == 0:
        return None
    if node.op_type == "ConvTranspose" and attributes(node).get("group", 1) > 1:
        return None  # the second axis is then the channel inside of a group, not the output channel
    return channel_axis(node, tuple(tensor.dims))


def _pair(graph: onnx.GraphProto, name: str, scales: Mapping[str, float]) -> Iterator[onnx.NodeProto]:
    if name not in scales:
        return
    _constants(graph, name, np.float32(scales[name]))
    parameters = [f"{name}/scale", f"{name}/zero"]
    yield helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}/quantized"], f"{name}/quantize")
    inputs = [f"{name}/quantized", *parameters]
    yield helper.make_node("DequantizeLinear", inputs, [f"{name}/dequantized"], f"{name}/dequantize")


def _weight(
    graph: onnx.GraphProto, tensor: onnx.TensorProto, axis: int | None, restored: str, group: int | None
) -> onnx.NodeProto:
    values = numpy_helper.to_array(tensor)
    if group is not None and axis is not None:
        integers, scale = int8.blocks(values, axis, 1 - axis, group)
        packed = helper.make_tensor(f"{restored}/int4", onnx.TensorProto.INT4, values.shape, integers.ravel())
        graph.initializer.extend([packed, numpy_helper.from_array(scale, f"{restored}/scale")])
        inputs, name = [packed.name, f"{restored}/scale"], f"{restored}/dequantize"
        return helper.make_node("DequantizeLinear", inputs, [restored], name, axis=1 - axis, block_size=group)
    integers, scale = int8.symmetric(values, tuple(i for i in range(values.ndim) if i != axis))
    _constants(graph, restored, scale.reshape(()) if axis is None else scale.reshape(-1))
    graph.initializer.append(numpy_helper.from_array(integers, f"{restored}/int8"))
    inputs = [f"{restored}/int8", f"{restored}/scale", f"{restored}/zero"]
    return helper.make_node("DequantizeLinear", inputs, [restored], f"{restored}/dequantize", axis=axis or 0)


def _constants(graph: onnx.GraphProto, name: str, scale: NDArray[np.float32] | np.float32) -> None:
    array = np.asarray(scale, np.float32)
    graph.initializer.append(numpy_helper.from_array(array, f"{name}/scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(array.shape, np.int8), f"{name}/zero"))
