"""Handing paddings over to the convolution or pooling behind them.

Keras writes them apart, and each costs a copy.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import fx

from edgekit.toolchains.executorch.graphs import tidy

aten = torch.ops.aten

#: Stands for infinity in a padding.
_LARGEST = torch.finfo(torch.float32).max
_REPEATS = frozenset((aten.replication_pad1d.default, aten.replication_pad2d.default, aten.replication_pad3d.default))
#: Operators after which nothing is negative: a padding of zeros changes no maximum, as one of minus infinity does not.
_NOT_NEGATIVE = frozenset((aten.relu.default, aten.sigmoid.default))


def absorb_pads(graph: fx.GraphModule) -> None:
    """Let convolutions and maximum poolings pad by themselves where the padding is even and of zeros."""
    for node in list(graph.graph.nodes):
        while node.op == "call_function" and node.target in _PLACES and _absorbed(node):
            pass
    tidy(graph)


def finite_pads(graph: fx.GraphModule) -> None:
    """Pad with the largest number where infinity is asked for: what writes the program ends at it (flatc, exit 1)."""
    for node in graph.graph.nodes:
        if node.op != "call_function" or node.target not in (aten.constant_pad_nd.default, aten.pad.default):
            continue
        node.args = tuple(map(_finite, node.args))
        node.kwargs = {name: _finite(value) for name, value in node.kwargs.items()}


def _finite(value: Any) -> Any:
    return max(-_LARGEST, min(_LARGEST, value)) if isinstance(value, float) else value


def repeat_edges(graph: fx.GraphModule) -> None:
    """Write a padding by the edges' own values as pieces joined, as the same padding of Keras's pooling comes.

    ExecuTorch makes a lookup of it, whose kernel refuses channels last ("method->execute() failed with error 0x12").
    """
    for node in list(graph.graph.nodes):
        if node.op != "call_function" or not (node.target in _REPEATS or _says_so(node)):
            continue
        found: Any = node.args[0]
        amounts: Any = node.args[1]
        with graph.graph.inserting_before(node):
            for number, (before, after) in enumerate(zip(amounts[::2], amounts[1::2], strict=True)):
                axis = -1 - number  # the last axis is padded first
                first = graph.graph.call_function(aten.slice.Tensor, (found, axis, 0, 1))
                last = graph.graph.call_function(aten.slice.Tensor, (found, axis, -1, sys.maxsize))
                pieces = [*[first] * before, found, *[last] * after]
                found = graph.graph.call_function(aten.cat.default, (pieces, axis)) if len(pieces) > 1 else found
        node.replace_all_uses_with(found)
        graph.graph.erase_node(node)
    tidy(graph)


def _says_so(node: fx.Node) -> bool:
    return node.target is aten.pad.default and "replicate" in (*node.args[2:3], node.kwargs.get("mode"))


def _absorbed(node: fx.Node) -> bool:
    """Let an operator pad by what stands before it; False where that is no padding, or one that it cannot do."""
    pad: Any = node.args[0]
    amounts = _even(pad)
    pools = node.target is aten.max_pool2d.default
    if amounts is None or (pools and not _fits(node, pad.args[0], amounts)):
        return False
    place = _PLACES[node.target]  # type: ignore[index]
    own = _pair(node.args[place]) if len(node.args) > place else (0, 0)
    if pools and any(own):
        return False
    node.args = (*node.args, *_DEFAULTS[node.target][len(node.args) : place + 1])
    node.update_arg(place, [amounts[0] + own[0], amounts[1] + own[1]])
    node.update_arg(0, pad.args[0])
    return True


#: Where an operator has its padding, and what stands before it where it is not written.
_PLACES = {aten.conv2d.default: 4, aten.max_pool2d.default: 3}
_DEFAULTS: dict[Any, tuple[Any, ...]] = {
    aten.conv2d.default: (None, None, None, [1, 1], [0, 0]),
    aten.max_pool2d.default: (None, None, [], [0, 0]),
}


def _even(pad: Any) -> tuple[int, int] | None:
    """Rows and columns that a padding of zeros adds on either side of an image; None for any other node."""
    if not isinstance(pad, fx.Node) or pad.op != "call_function" or pad.target is not aten.constant_pad_nd.default:
        return None
    amounts: Any = pad.args[1]
    value = pad.args[2] if len(pad.args) > 2 else pad.kwargs.get("value", 0)
    if pad.meta["val"].dim() != 4 or value != 0 or len(amounts) != 4:
        return None
    left, right, top, bottom = amounts
    return (top, left) if left == right >= 0 and top == bottom >= 0 else None


def _fits(pool: fx.Node, data: Any, amounts: tuple[int, int]) -> bool:
    """Whether a maximum over the padded data is one that the pooling can pad by itself.

    Each window must reach the data (those of a dilated kernel may step over it), and there must be as many windows
    (rounded up, one that begins in the padding counts only where that is data).
    """
    zero_or_more = data.op == "call_function" and (
        data.target in _NOT_NEGATIVE or (data.target is aten.hardtanh.default and data.args[1:2] == (0.0,))
    )
    kernel = _pair(pool.args[1])
    dilation = _pair(pool.args[4]) if len(pool.args) > 4 else (1, 1)
    plain = dilation == (1, 1) and not any(pool.args[5:6])
    return zero_or_more and plain and all(2 * a <= size for a, size in zip(amounts, kernel, strict=True))


def _pair(value: Any) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    return (pair[0], pair[0]) if len(pair) == 1 else (pair[0], pair[1])
