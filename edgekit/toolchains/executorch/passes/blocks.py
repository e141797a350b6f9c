"""Linear layers with int4 weights in blocks, whose activations get an int8 scale per row at run time (8da4w).

The tables of lookups become int8, a scale per row. Their kernel is one of ExecuTorch's ``quantized_ops_lib``, which the
Python package has inside; an app links it beside the XNNPACK backend.
"""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from executorch.exir.passes import _quant_patterns_and_replacements as _lookups  # noqa: F401  # registers operators
from torch import fx

from edgekit.toolchains._shared import int8
from edgekit.toolchains.executorch.graphs import attribute, constant, is_constant, replace

aten, decomposed = torch.ops.aten, torch.ops.quantized_decomposed

_INT8, _INT4 = (-128, 127, torch.int8), (-8, 7, torch.int8)


def fits(node: fx.Node, group: int) -> bool:
    """Whether a node is a linear layer with stored float32 weights that blocks of this size divide."""
    if node.op != "call_function" or node.target is not aten.linear.default or not is_constant(node.args[1]):
        return False
    weights = constant(node.args[1])
    return weights.dtype == torch.float32 and weights.dim() == 2 and weights.shape[1] % group == 0


def looks_up(node: fx.Node) -> bool:
    """Whether a node looks rows up in a stored float32 table."""
    found = node.op == "call_function" and node.target is aten.embedding.default and is_constant(node.args[0])
    return found and constant(node.args[0]).dtype == torch.float32 and constant(node.args[0]).dim() == 2


def store_tables(graph: fx.GraphModule, names: Collection[str]) -> None:
    """Store the tables of these lookups in int8, in place."""
    for node in list(graph.graph.nodes):
        if node.name in names:
            integers, scale = int8.symmetric(constant(node.args[0]).numpy(), 1)
            held = [attribute(graph, node, torch.from_numpy(array)) for array in (integers, scale.reshape(-1))]
            with graph.graph.inserting_before(node):
                # The kernel ends the process at indices of 32 bits.
                wide = graph.graph.call_function(aten.to.dtype, (node.args[1], torch.int64))
                arguments = (*held, None, -int8.LARGEST, int8.LARGEST, wide)
                made = graph.graph.call_function(decomposed.embedding_byte.default, arguments)
            replace(node, made)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def quantize(graph: fx.GraphModule, names: Collection[str], group: int) -> None:
    """Store the weights of these linear layers in int4, and quantize what they take, in place."""
    stored: dict[tuple[str, ...], fx.Node] = {}
    taken: dict[fx.Node, fx.Node] = {}
    for node in list(graph.graph.nodes):
        if node.name not in names:
            continue
        data, weights = list[Any](node.args)[:2]
        with graph.graph.inserting_before(node):
            if data not in taken:
                taken[data] = _rounded(graph, data)
            if weights.target not in stored:
                stored[weights.target] = _restored(graph, node, constant(weights), group)
        node.update_arg(0, taken[data])
        node.update_arg(1, stored[weights.target])
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _rounded(graph: fx.GraphModule, data: fx.Node) -> fx.Node:
    """An activation on an int8 grid of its own per row."""
    call = graph.graph.call_function
    chosen = call(decomposed.choose_qparams_per_token_asymmetric.default, (data, torch.int8))
    scale, point = (call(operator.getitem, (chosen, place)) for place in (0, 1))
    integers = call(decomposed.quantize_per_token.default, (data, scale, point, *_INT8))
    return call(decomposed.dequantize_per_token.default, (integers, scale, point, *_INT8, torch.float32))


def _restored(graph: fx.GraphModule, before: fx.Node, weights: torch.Tensor, group: int) -> fx.Node:
    """Weights on an int4 grid per block, with the scales that the delegate stores, of 8 significant bits."""
    _, exact = int8.blocks(weights.numpy(), 0, 1, group)
    scale = torch.from_numpy(exact).to(torch.bfloat16).float()
    spread = np.repeat(scale.numpy(), group, axis=1)
    integers = np.clip(np.rint(weights.numpy() / spread), -int8.LARGEST_4, int8.LARGEST_4).astype(np.int8)
    held = [attribute(graph, before, tensor) for tensor in (torch.from_numpy(integers), scale, torch.zeros_like(scale))]
    target = decomposed.dequantize_per_channel_group.default
    return graph.graph.call_function(target, (*held, *_INT4, group, torch.float32))
