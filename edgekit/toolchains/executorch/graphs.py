"""Reading and changing torch.fx graphs: stored tensors, constants, shapes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

#: Convolutions that may have one axis of positions.
_CONV1D = frozenset((
    torch.ops.aten.conv1d.default, torch.ops.aten.conv1d.padding, torch.ops.aten.convolution.default,
    torch.ops.aten.conv_transpose1d.default,
))  # fmt: skip


def fold_constants(graph: fx.GraphModule) -> None:
    """Compute, once, whatever depends on no input."""
    known: dict[fx.Node, Any] = {}
    with torch.no_grad():
        for node in graph.graph.nodes:
            if node.op == "get_attr":
                known[node] = constant(node)
            elif node.op == "call_function" and all(n in known for n in node.all_input_nodes) and not _random(node):
                args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
                known[node] = node.target(*args, **kwargs)
    for node in list(known):
        used = any(user not in known for user in node.users)
        if node.op == "call_function" and used and isinstance(known[node], Tensor):
            replace(node, attribute(graph, node, known[node]))
    tidy(graph)


def constant(node: Any) -> Tensor:
    """The tensor behind a ``get_attr`` node."""
    found: Any = node.graph.owning_module
    for part in node.target.split("."):
        found = getattr(found, part)
    assert isinstance(found, Tensor)
    return found.detach()


def is_constant(node: Any) -> bool:
    """Whether an argument is a stored tensor."""
    return isinstance(node, fx.Node) and node.op == "get_attr"


def attribute(graph: fx.GraphModule, before: fx.Node, value: Tensor) -> fx.Node:
    """Store a tensor and return its node, placed before another."""
    taken = {name for name, _ in graph.named_buffers() if name.startswith("_folded_")}
    number = next(n for n in itertools.count(len(taken)) if f"_folded_{n}" not in taken)
    graph.register_buffer(f"_folded_{number}", value.detach().clone().contiguous())
    with graph.graph.inserting_before(before):
        made = graph.graph.get_attr(f"_folded_{number}")
    made.meta["val"] = value
    return made


def replace(node: fx.Node, new: fx.Node) -> None:
    """Let everything that uses a node use another, and remove it."""
    node.replace_all_uses_with(new)
    node.graph.erase_node(node)


def tidy(graph: fx.GraphModule) -> None:
    """Remove what nothing uses."""
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()


def drop_unread(graph: fx.GraphModule) -> None:
    """Remove the tensors that no node reads: they would be written into the file all the same."""
    read = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    for name, _ in [*graph.named_parameters(remove_duplicate=False), *graph.named_buffers(remove_duplicate=False)]:
        if name not in read:
            owner, _, leaf = name.rpartition(".")
            delattr(graph.get_submodule(owner), leaf)


def one_dimensional(graph: fx.GraphModule) -> list[fx.Node]:
    """Its one-dimensional convolutions, which need filters of their own where a layer is called several times.

    XNNPACK's compiler makes two-dimensional ones of them by adding an axis to the stored filter, once for each call
    (``Conv1dUnsqueezePass``, ExecuTorch 1.4). Equal constants are stored once in the file.
    """
    return [node for node in graph.graph.nodes if node.target in _CONV1D and node.meta["val"].dim() == 3]


def in_plain_order(graph: fx.GraphModule) -> None:
    """Lay every stored tensor out as its shape says.

    ExecuTorch reads the order of axes from strides. Those of an axis of one element say nothing, and what they happen
    to be then swaps axes: XNNPACK refuses the shapes when the file runs.
    """
    with torch.no_grad():
        for tensor in [*graph.parameters(), *graph.buffers()]:
            tensor.data = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)


def infer(graph: fx.GraphModule, example: Iterable[Any]) -> None:
    """Give every node its shape and type anew."""
    graph.recompile()
    FakeTensorProp(graph, FakeTensorMode(allow_non_fake_inputs=True)).propagate(*example)


def _random(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
