"""The routes for float16 files: weights alone, or weights and arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from edgekit.errors import UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.toolchains import Converted, Request
from edgekit.toolchains._shared import torch_graph
from edgekit.toolchains.executorch import vendor
from edgekit.toolchains.executorch.export import graph_of, lowered
from edgekit.toolchains.executorch.graphs import attribute, constant, is_constant, tidy

aten = torch.ops.aten

#: The products whose weights XNNPACK takes in float16 between float32 activations.
_WEIGHTED = (aten.linear.default, aten.conv1d.default, aten.conv2d.default, aten.conv_transpose2d.input)
#: Elements from which on a constant is worth a conversion in each run.
_LARGE = 512
_LARGEST = torch.finfo(torch.float16).max


@torch_graph.unrepeated()
def weights_only(model: LoadedModel | None, request: Request) -> Converted:
    """Store weights and biases of products and embeddings in float16; compute in float32.

    Raises:
        UnsupportedError: a weight is beyond float16's range.
    """
    assert model is not None
    graph = graph_of(model)
    _refuse_overflow(graph)
    _halve_tables(graph)
    _halve_others(graph)
    _unshare(graph)
    with vendor.products_in_half():
        return lowered(graph, model, request, "stores weights in float16, computes in float32")


@torch_graph.unrepeated()
def everything(model: LoadedModel | None, request: Request) -> Converted:
    """Store and compute in float16; inputs and outputs stay float32.

    ExecuTorch's serializer writes the weights of float16 convolutions in float32 (``op_conv2d.py``), and XNNPACK takes
    no others for them: half the bytes come with this route for linear layers and embeddings only.
    """
    assert model is not None
    graph = graph_of(model)
    _refuse_overflow(graph)
    _halve(graph)
    return lowered(graph, model, request, "computes in float16; inputs and outputs stay float32")


def _refuse_overflow(graph: fx.GraphModule) -> None:
    for node in graph.graph.nodes:
        if node.op != "get_attr" or not constant(node).is_floating_point():
            continue
        largest = float(constant(node).abs().nan_to_num().max()) if constant(node).numel() else 0.0
        if largest > _LARGEST:
            raise UnsupportedError(
                f"the constant {node.target} reaches {largest:.4g}; float16 ends at {_LARGEST:.0f}",
                hint="Take --target executorch-fp32, or scale the layer.",
            )


def _halve_tables(graph: fx.GraphModule) -> None:
    """Store embedding tables in float16 and widen what is looked up."""
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or node.target is not aten.embedding.default or not is_constant(node.args[0]):
            continue
        table = attribute(graph, node, constant(node.args[0]).half())
        with graph.graph.inserting_before(node):
            rows = graph.graph.call_function(aten.embedding.default, (table, *node.args[1:]), node.kwargs)
            wide = graph.graph.call_function(aten.to.dtype, (rows, torch.float32))
        node.replace_all_uses_with(wide)
        graph.graph.erase_node(node)
    tidy(graph)


def _halve_others(graph: fx.GraphModule) -> None:
    """Store what sums read (positions, masks) in float16 where it is large, and widen it in each run."""
    for node in list(graph.graph.nodes):
        if node.op != "get_attr" or constant(node).dtype != torch.float32 or constant(node).numel() < _LARGE:
            continue
        others = [user for user in node.users if user.target not in _WEIGHTED]
        if others:
            half = attribute(graph, others[0], constant(node).half())
            with graph.graph.inserting_after(half):
                wide = graph.graph.call_function(aten.to.dtype, (half, torch.float32))
            for user in others:
                user.replace_input_with(node, wide)
    tidy(graph)


def _unshare(graph: fx.GraphModule) -> None:
    """Give products copies of constants that something else reads too: that must stay float32, and biases follow."""
    nodes = list(graph.graph.nodes)
    read = {a.target for n in nodes if n.target not in _WEIGHTED for a in n.all_input_nodes if is_constant(a)}
    for node in nodes:
        if node.op == "call_function" and node.target in _WEIGHTED:
            for place, value in enumerate(node.args):
                if is_constant(value) and value.target in read:
                    node.update_arg(place, attribute(graph, node, constant(value)))
    tidy(graph)


def _halve(graph: fx.GraphModule) -> None:
    """Turn every float32 constant and conversion into float16, and convert at the borders."""
    for node in list(graph.graph.nodes):
        if node.op == "get_attr" and constant(node).dtype == torch.float32:
            _store_half(graph, node)
        elif node.op == "call_function":
            node.args = _half_types(node.args)
            node.kwargs = _half_types(node.kwargs)
        elif node.op == "placeholder" and node.meta["val"].dtype == torch.float32:
            with graph.graph.inserting_after(node):
                half = graph.graph.call_function(aten.to.dtype, (node, torch.float16))
            node.replace_all_uses_with(half, delete_user_cb=lambda user, half=half: user is not half)
    (output,) = (n for n in graph.graph.nodes if n.op == "output")

    def widened(node: fx.Node) -> fx.Node:
        if node.meta["val"].dtype != torch.float32:
            return node
        with graph.graph.inserting_before(output):
            return graph.graph.call_function(aten.to.dtype, (node, torch.float32))

    output.args = fx.map_arg(output.args, widened)
    graph.recompile()


def _store_half(graph: fx.GraphModule, node: fx.Node) -> None:
    name = f"_half_{sum(1 for known, _ in graph.named_buffers() if known.startswith('_half_'))}"
    graph.register_buffer(name, constant(node).half())
    node.target = name


def _half_types(value: Any) -> Any:
    """Arguments with float32 replaced by float16 wherever it is named as a type."""
    if value is torch.float32:
        return torch.float16
    if isinstance(value, dict):
        return {key: _half_types(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_half_types(inner) for inner in value)
    return value
