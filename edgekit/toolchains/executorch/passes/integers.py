"""Quantized graphs, written so that XNNPACK's compiler and its runtime agree on which operators are integer ones.

The compiler marks the dequantize before an operator and the quantize behind it as parts of it. A dequantize that others
read too is marked for all of them; behind a padding a mark is set though there is none before it; and the scales of
operators that move values are not compared, while the runtime copies their integers as they are. Where the two
disagree, the file is refused without a name (``vendor.INTEGER_MARKS``): "Failed to load method forward, error: 0x1". A
slice between two linear layers is enough.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

#: By name: operators of quantization are registered where a graph is quantized.
_QUANTIZE, _DEQUANTIZE = (f"quantized_decomposed.{name}_per_tensor.default" for name in ("quantize", "dequantize"))
#: What gives values of its input as they are, and has a kernel of integers.
_MOVING = frozenset((
    aten.slice.Tensor, aten.narrow.default, aten.max_pool2d.default, aten.permute.default, aten.transpose.int,
    aten.t.default, aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.unflatten.int,
    aten.unsqueeze.default, aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims,
))  # fmt: skip


def agree(graph: fx.GraphModule) -> None:
    """Give what is moved or padded the scale that it has, and each reader a dequantize of its own."""
    for node in list(graph.graph.nodes):
        if _integers_before(node) and (_padded_for_floats(node) or _moved_to_another_scale(node)):
            _keep_scale(node)
    for node in list(graph.graph.nodes):
        if str(node.target).startswith("quantized_decomposed.dequantize_") and not _at_run_time(node):
            _copy_for_each(node)
    graph.recompile()


def _at_run_time(node: Any) -> bool:
    """Whether a scale is found at run time: it is found once for all readers."""
    return any(value.op == "call_function" for value in node.all_input_nodes[1:])


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


def _copy_for_each(node: fx.Node) -> None:
    for reader in list(node.users)[1:]:
        with node.graph.inserting_after(node):
            reader.replace_input_with(node, node.graph.node_copy(node))
