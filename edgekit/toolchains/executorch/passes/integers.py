"""Quantized graphs, written so that XNNPACK's compiler and its runtime agree on which operators are integer ones.

The compiler marks the dequantize before an operator and the quantize behind it as parts of it. A dequantize that others
read too is marked for all of them; behind a padding a mark is set though there is none before it; and the scales of
operators that move values are not compared, while the runtime copies their integers as they are. Where the two
disagree, the file is refused without a name (``vendor.INTEGER_MARKS``): "Failed to load method forward, error: 0x1". A
slice between two linear layers is enough.

XNNPACK finds the scale of an input that is quantized at run time per pixel for a convolution of 1 x 1 and per image for
others, and where two of them share that input, one gets what was meant for the other (``vendor.SHARED_SCALES``).
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from edgekit.toolchains.executorch.graphs import constant

aten = torch.ops.aten

#: By name: operators of quantization are registered where a graph is quantized.
_QUANTIZE, _DEQUANTIZE = (f"quantized_decomposed.{name}_per_tensor.default" for name in ("quantize", "dequantize"))
#: What gives values of its input as they are, and has a kernel of integers.
_MOVING = frozenset((
    aten.slice.Tensor, aten.narrow.default, aten.max_pool2d.default, aten.permute.default, aten.transpose.int,
    aten.t.default, aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int,
    aten.unsqueeze.default, aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims,
))  # fmt: skip

#: Arguments of a convolution where they are not written: the last are stride and padding.
_CONVOLVED: tuple[Any, ...] = (None, None, None, [1, 1], [0, 0])


def agree(graph: fx.GraphModule) -> None:
    """Give what is moved or padded the scale that it has, and each reader a dequantize of its own."""
    for node in list(graph.graph.nodes):
        if _integers_before(node) and (_padded_for_floats(node) or _moved_to_another_scale(node)):
            _keep_scale(node)
    for node in list(graph.graph.nodes):
        if not str(node.target).startswith("quantized_decomposed.dequantize_"):
            continue
        stored, *parameters = node.all_input_nodes
        if all(one.op == "get_attr" for one in parameters):
            _copy_for([[reader] for reader in node.users], node)
        elif len(parameters) == 2 and all(one.target is operator.getitem for one in parameters):  # found at run time
            kinds = [[reader for reader in node.users if _by_pixel(reader) == of] for of in (True, False)]
            _copy_for([kind for kind in kinds if kind], parameters[0].all_input_nodes[0], *parameters, stored, node)
    graph.recompile()


def _by_pixel(reader: Any) -> bool:
    """Whether a product's kernel takes a scale per pixel: linear layers, and convolutions that are such (1 x 1)."""
    if reader.target is not aten.conv2d.default:
        return bool(reader.target is aten.linear.default)
    _, weights, _, stride, padding = (*reader.args, *_CONVOLVED[len(reader.args) :])[:5]
    while weights.op != "get_attr":
        weights = weights.all_input_nodes[0]
    return {*constant(weights).shape[2:], *stride} == {1} and not any(padding)


def _integers_before(node: Any) -> bool:
    return bool(node.all_input_nodes) and str(node.all_input_nodes[0].target) == _DEQUANTIZE


def _padded_for_floats(node: Any) -> bool:
    """Whether it is a padding of zeros that nobody reads as integers, as the compiler takes it to be read."""
    if node.target is not aten.constant_pad_nd.default and node.target is not aten.pad.default:
        return False
    amounts: Any = node.args[1]
    zeros = all(value in (0, "constant", None) for value in (*node.args[2:], *node.kwargs.values()))
    zeros = zeros and all(amount >= 0 for amount in amounts)
    return zeros and not any(str(reader.target) == _QUANTIZE for reader in node.users)


def _moved_to_another_scale(node: Any) -> bool:
    """Whether what is only moved is quantized anew behind it."""
    if node.target not in _MOVING or len(node.users) != 1:
        return False
    (reader,) = node.users
    return str(reader.target) == _QUANTIZE and bool(reader.args[1:] != node.args[0].args[1:])


def _keep_scale(node: Any) -> None:
    readers, scale, known = list(node.users), node.args[0].args[1:], torch.ops.quantized_decomposed
    with node.graph.inserting_after(node):
        stored = node.graph.call_function(known.quantize_per_tensor.default, (node, *scale))
    with node.graph.inserting_after(stored):
        read = node.graph.call_function(known.dequantize_per_tensor.default, (stored, *scale))
    for reader in readers:
        reader.replace_input_with(node, read)


class _Copies(dict[fx.Node, fx.Node]):
    """Nodes and their copies; what has none is itself."""

    def __missing__(self, node: fx.Node) -> fx.Node:
        return node


def _copy_for(groups: list[list[fx.Node]], *chain: fx.Node) -> None:
    """Give each group but the first, of the readers of the last of these nodes, copies of all of them."""
    node = chain[-1]
    for readers in groups[1:]:
        copies = _Copies()
        with node.graph.inserting_before(node.next):
            for link in chain:
                copies[link] = node.graph.node_copy(link, copies.__getitem__)
        for reader in readers:
            reader.replace_input_with(node, copies[node])
