"""Rules for products with weights, and of two activations, and for cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import fx

from edgekit.compress.channels.labels import Why
from edgekit.compress.channels.values import Value, args, full, refused, unknown, zeros
from edgekit.compress.graph import operator, shape

if TYPE_CHECKING:
    from edgekit.compress.channels.labels import Axis
    from edgekit.compress.channels.walk import Walk

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

_KERNEL = Why("a position of a kernel")
_OF_A_HEAD = Why("it is part of a head, which goes whole")
_ATTENDED = Why("both factors of a product are computed from the inputs")


def conv(walk: Walk, node: fx.Node) -> Any:
    """A convolution: of one group, depthwise, or transposed."""
    name = operator(node)
    if name == "convolution":
        x, w, b, _, _, _, transposed, _, groups = args(node)
    elif name.startswith("conv_transpose"):
        names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups")
        x, w, b, *_, groups = full(node, names, (None, None, None, 1, 0, 0, 1))
        transposed = True
    else:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        x, w, b, *_, groups = full(node, names, (None, None, None, 1, 0, 1, 1))
        transposed = False
    value, weight, bias = walk.value(x), walk.value(w), walk.value(b)
    for axis in weight.axes[2:]:
        walk.labels.pin(axis, _KERNEL)
    inputs, outputs = (0, 1) if transposed else (1, 0)
    if len(value.axes) != len(weight.axes):  # without a batch
        return unknown(walk, node)
    channels = len(value.axes[1])
    if groups == 1:
        walk.labels.join(value.axes[1], weight.axes[inputs])
    elif groups == channels and len(weight.axes[1]) == 1:  # depthwise, whose first axis has the channels either way
        outputs = 0
        walk.labels.pin(weight.axes[1], _KERNEL)
        walk.labels.join(np.repeat(value.axes[1], len(weight.axes[0]) // channels), weight.axes[0])
    else:
        walk.produced.append(weight.axes[outputs])
        return refused(walk, node, walk.arguments(node), f"groups of {channels // int(groups)} channels are mixed in")
    out = weight.axes[outputs]
    return _produced(walk, node, 1, out, bias, (value.axes[0], out, *map(zeros, shape(node)[2:])))


def _produced(walk: Walk, node: fx.Node, at: int, out: Axis, bias: Value | None, axes: tuple[Axis, ...]) -> Value:
    """The result of a product with stored weights, along whose axis ``at`` channels are given."""
    walk.produced.append(out)
    if bias is not None:
        walk.labels.join(out, bias.axes[-1])
    return Value(axes, any(v.computed for v in walk.arguments(node)))


def linear(walk: Walk, node: fx.Node) -> Any:
    """Rows of weights times the last axis."""
    value, weight, bias = (walk.value(a) for a in full(node, ("input", "weight", "bias"), (None, None, None)))
    walk.labels.join(value.axes[-1], weight.axes[1])
    out = weight.axes[0]
    return _produced(walk, node, -1, out, bias, (*value.axes[:-1], out))


def matmul(walk: Walk, node: fx.Node) -> Any:
    """``matmul``, ``mm`` and ``bmm``; ``addmm``, whose first argument is what is added."""
    *bias, one, other = (walk.value(argument) for argument in args(node))
    if len(one.axes) < 2 or len(other.axes) < 2 or node.kwargs:
        return unknown(walk, node)
    walk.labels.join(one.axes[-1], other.axes[-2])
    batch: list[Axis] = []
    for from_last in range(-len(shape(node)), -2):
        having = [
            v.axes[from_last]
            for v in (one, other)
            if len(v.axes) >= -from_last and len(v.axes[from_last]) == shape(node)[from_last]
        ]
        if len(having) > 1:
            walk.labels.join(*having)
        batch.append(having[0])
    if one.computed and other.computed:
        walk.labels.pin(one.axes[-1], _ATTENDED)
    else:
        walk.produced.append((one if other.computed else other).axes[-2 if other.computed else -1])
    if bias and bias[0] is not None:
        walk.labels.join(bias[0].axes[-1], other.axes[-1])
    return Value((*batch, one.axes[-2], other.axes[-1]), one.computed or other.computed)


def einsum(walk: Walk, node: fx.Node) -> Any:
    """A product that is said in letters: each names an axis of all that have it."""
    equation, operands = str(args(node)[0]).replace(" ", ""), [walk.value(a) for a in args(node)[1]]
    sides, arrow, out = equation.partition("->")
    terms = sides.split(",")
    if not arrow or "." in equation or any(len(set(term)) < len(term) for term in terms):
        return unknown(walk, node)
    lies: dict[str, Axis] = {}
    for term, value in zip(terms, operands, strict=True):
        for letter, axis in zip(term, value.axes, strict=True):
            if letter in lies and len(lies[letter]) == len(axis):
                walk.labels.join(lies[letter], axis)
            lies.setdefault(letter, axis)
    for term, value in zip(terms, operands, strict=True):
        given = [lies[letter] for letter in term if letter in out and sum(letter in t for t in terms) == 1]
        if value.computed or not given:
            continue
        walk.produced.append(given[0])
        for within in given[1:]:  # heads go whole
            walk.labels.pin(within, _OF_A_HEAD)
    if sum(value.computed for value in operands) > 1:
        for letter in lies.keys() - set(out):
            walk.labels.pin(lies[letter], _ATTENDED)
    return Value(tuple(lies[letter] for letter in out), any(value.computed for value in operands))


def attention(walk: Walk, node: fx.Node) -> Any:
    """What scores are computed from stays: a score is divided by the root of their number."""
    query, key, value = (walk.value(argument) for argument in args(node)[:3])
    for one in (query, key):
        walk.labels.pin(one.axes[-1], _ATTENDED)
    axes = (*query.axes[:-1], value.axes[-1])
    for before, after in zip((*query.axes[:-2], *query.axes[:-2]), (*key.axes[:-2], *value.axes[:-2]), strict=True):
        if len(before) != len(after):
            return unknown(walk, node)
        walk.labels.join(before, after)
    return Value(axes, True)


def embedding(walk: Walk, node: fx.Node) -> Any:
    """Rows of a table."""
    table, tokens = (walk.value(argument) for argument in args(node)[:2])
    walk.labels.pin(table.axes[0], Why("a row of a table"))
    walk.produced.append(table.axes[1])
    return Value((*tokens.axes, table.axes[1]), table.computed or tokens.computed)


def recurrent(walk: Walk, node: fx.Node) -> Any:
    """``lstm``, ``gru`` and ``rnn``: units of all layers and directions go together, since a module has one number."""
    value, parameters = walk.value(args(node)[0]), [walk.value(p) for p in args(node)[2]]
    matrices = [parameter for parameter in parameters if len(parameter.axes) > 1]
    biases, layers, bidirectional = bool(args(node)[3]), int(args(node)[4]), bool(args(node)[7])
    directions, each = 2 if bidirectional else 1, 4 if biases else 2
    gates = {"lstm": 4, "gru": 3}.get(operator(node), 1)
    units = parameters[1].axes[1]
    if len(parameters) == layers * directions * (each + 1):
        return _opaque(walk, node, matrices, "are projected (proj_size) by")
    if len(parameters) != layers * directions * each or gates * len(units) != len(parameters[1].axes[0]):
        return _opaque(walk, node, matrices)
    given = value.axes[-1]
    for layer in range(layers):
        for direction in range(directions):
            at = (layer * directions + direction) * each
            wide, again, *rest = parameters[at : at + each]
            walk.labels.join(given, wide.axes[1])
            walk.labels.join(units, again.axes[1])
            for rows in (wide.axes[0], again.axes[0], *(bias.axes[0] for bias in rest)):
                walk.labels.join(np.tile(units, gates), rows)
            walk.produced += [wide.axes[0], again.axes[0]]
        given = np.tile(units, directions)
    for state in walk.arguments(node):
        if not state.computed and len(state.axes) == 3 and len(state.axes[-1]) == len(units):
            walk.labels.join(units, state.axes[-1])
    _, *states = node.meta["val"]
    batch = value.axes[0 if args(node)[8] else 1] if len(args(node)) > 8 else zeros(1)
    ends = tuple(Value((zeros(layers * directions), batch, units), True) for _ in states)
    return (Value((*value.axes[:-1], given), True), *ends)


def _opaque(walk: Walk, node: fx.Node, weights: Sequence[Value], what: str = "cannot be followed through") -> Any:
    """What gives channels by weights, and cannot be followed: these are named, and not passed by in silence."""
    walk.produced += [weight.axes[0] for weight in weights]
    return refused(walk, node, walk.arguments(node), what)


def cell(walk: Walk, node: fx.Node) -> Any:
    """One step of ``lstm``, ``gru`` or ``rnn``, which the model's own code calls."""
    return _opaque(walk, node, [walk.value(argument) for argument in args(node)[2:4]])


def weight_norm(walk: Walk, node: fx.Node) -> Any:
    """Rows of weights by their norms, which are others of fewer inputs."""
    return _opaque(walk, node, [walk.value(args(node)[0])], "are computed of their norms by")


def embedding_bag(walk: Walk, node: fx.Node) -> Any:
    """Sums, means or maxima of rows of a table."""
    table = walk.value(args(node)[0])
    walk.labels.pin(table.axes[0], Why("a row of a table"))
    walk.produced.append(table.axes[1])
    first, *others = node.meta["val"]
    rest = (Value(tuple(zeros(int(n)) for n in other.shape), True) for other in others)
    return (Value((zeros(int(first.shape[0])), table.axes[1]), True), *rest)
