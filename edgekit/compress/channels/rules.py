"""What operators make of the axes of their arguments.

An operator that has no rule pins all that it reads: channels that go through it stay, and are named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import fx

from edgekit.compress.channels.labels import Why
from edgekit.compress.graph import operator, shape

if TYPE_CHECKING:
    from edgekit.compress.channels.labels import Axis
    from edgekit.compress.channels.walk import Value, Walk

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

Rule = Callable[["Walk", fx.Node], Any]

_KERNEL = Why("a position of a kernel")
_NORMALIZED = Why("it is normalized together with the others")
_REDUCED = Why("it is summed up with the others")
_OF_A_HEAD = Why("it is part of a head, which goes whole")
_ATTENDED = Why("both factors of a product are computed from the inputs")


def _args(node: fx.Node) -> tuple[Any, ...]:
    return tuple(node.args)


def _dim(node: fx.Node, place: int, otherwise: Any) -> Any:
    """The axis, or axes, along which it works."""
    return node.kwargs.get("dim", node.args[place] if len(node.args) > place else otherwise)


def unknown(walk: Walk, node: fx.Node) -> Any:
    """An operator that is not followed: what it reads stays as it is."""
    return _refused(walk, node, walk.arguments(node))


def _refused(walk: Walk, node: fx.Node, given: Iterable[Value], what: str = "cannot be followed through") -> Any:
    why = Why(f"{what} {walk.here(node)}", refused=True)
    for value in given:
        walk.stay(value, why)
    return _still(walk, node)


def _still(walk: Walk, node: fx.Node) -> Any:
    """The result with all axes pinned; of several results several."""
    computed = any(value.computed for value in walk.arguments(node))
    found = node.meta.get("val")

    def one(of: Any) -> Any:
        return _value(tuple(_zeros(int(n)) for n in of.shape), computed) if hasattr(of, "shape") else None

    return tuple(map(one, found)) if isinstance(found, list | tuple) else one(found)


def _value(axes: tuple[Axis, ...], computed: bool) -> Value:
    from edgekit.compress.channels.walk import Value

    return Value(axes, computed)


def _zeros(count: int) -> Axis:
    return np.zeros(count, np.int64)


def _elementwise(walk: Walk, node: fx.Node) -> Any:
    """Arguments of one shape, or that are broadcast: an axis of the result is that of all which have it."""
    given, size = walk.arguments(node), shape(node)
    if not given:
        return _still(walk, node)
    axes: list[Axis] = []
    adds = operator(node).rstrip("_") in _SUMS
    for from_last in range(-len(size), 0):
        having = [v for v in given if len(v.axes) >= -from_last and len(v.axes[from_last]) == size[from_last]]
        if not having:
            return _refused(walk, node, given)
        first = having[0].axes[from_last]
        for other in having[1:]:
            # What is added to a function of itself, as some activations do, is no stream.
            apart = (walk.labels.roots(first) != walk.labels.roots(other.axes[from_last])).any()
            walk.labels.join(first, other.axes[from_last])
            if adds and apart and having[0].computed and other.computed:
                walk.labels.sum(first)
        axes.append(first)
    return _value(tuple(axes), any(v.computed for v in given))


def _full(node: fx.Node, names: Sequence[str], defaults: Sequence[Any]) -> list[Any]:
    """Arguments by place or by name."""
    given: list[Any] = [*_args(node), *defaults[len(_args(node)) :]]
    return [node.kwargs.get(name, value) for name, value in zip(names, given, strict=False)]


def _conv(walk: Walk, node: fx.Node) -> Any:
    name = operator(node)
    if name == "convolution":
        x, w, b, _, _, _, transposed, _, groups = _args(node)
    elif name.startswith("conv_transpose"):
        names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups")
        x, w, b, *_, groups = _full(node, names, (None, None, None, 1, 0, 0, 1))
        transposed = True
    else:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        x, w, b, *_, groups = _full(node, names, (None, None, None, 1, 0, 1, 1))
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
    elif groups == channels and not transposed and len(weight.axes[1]) == 1:  # depthwise
        walk.labels.pin(weight.axes[1], _KERNEL)
        walk.labels.join(np.repeat(value.axes[1], len(weight.axes[0]) // channels), weight.axes[0])
    else:
        walk.produced.append(weight.axes[outputs])
        return _refused(walk, node, walk.arguments(node), f"groups of {channels // int(groups)} channels are mixed in")
    out = weight.axes[outputs]
    return _produced(walk, node, 1, out, bias, (value.axes[0], out, *map(_zeros, shape(node)[2:])))


def _produced(walk: Walk, node: fx.Node, at: int, out: Axis, bias: Value | None, axes: tuple[Axis, ...]) -> Value:
    """The result of a product with stored weights, along whose axis ``at`` channels are given."""
    walk.produced.append(out)
    if bias is not None:
        walk.labels.join(out, bias.axes[-1])
    return _value(axes, any(v.computed for v in walk.arguments(node)))


def _linear(walk: Walk, node: fx.Node) -> Any:
    value, weight, bias = (walk.value(a) for a in _full(node, ("input", "weight", "bias"), (None, None, None)))
    walk.labels.join(value.axes[-1], weight.axes[1])
    out = weight.axes[0]
    return _produced(walk, node, -1, out, bias, (*value.axes[:-1], out))


def _matmul(walk: Walk, node: fx.Node) -> Any:
    """``matmul``, ``mm`` and ``bmm``; ``addmm``, whose first argument is what is added."""
    *bias, one, other = (walk.value(argument) for argument in _args(node))
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
    return _value((*batch, one.axes[-2], other.axes[-1]), one.computed or other.computed)


def _einsum(walk: Walk, node: fx.Node) -> Any:
    equation, operands = str(_args(node)[0]).replace(" ", ""), [walk.value(a) for a in _args(node)[1]]
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
    return _value(tuple(lies[letter] for letter in out), any(value.computed for value in operands))


def _attention(walk: Walk, node: fx.Node) -> Any:
    query, key, value = (walk.value(argument) for argument in _args(node)[:3])
    for one in (query, key):
        walk.labels.pin(one.axes[-1], _ATTENDED)
    axes = (*query.axes[:-1], value.axes[-1])
    for before, after in zip((*query.axes[:-2], *query.axes[:-2]), (*key.axes[:-2], *value.axes[:-2]), strict=True):
        if len(before) != len(after):
            return unknown(walk, node)
        walk.labels.join(before, after)
    return _value(axes, True)


def _batch_norm(walk: Walk, node: fx.Node) -> Any:
    value, *stored = (walk.value(argument) for argument in _args(node)[:5])
    for one in stored:
        if one is not None:
            walk.labels.join(value.axes[1], one.axes[0])
    if stored and stored[0] is not None:
        walk.scaled.append(stored[0].axes[0])
    return value


def _layer_norm(walk: Walk, node: fx.Node) -> Any:
    value = walk.value(_args(node)[0])
    count = len(_args(node)[1])
    for axis in value.axes[-count:]:
        walk.labels.pin(axis, _NORMALIZED)
    for stored in walk.arguments(node)[1:]:
        for axis, own in zip(value.axes[-count:], stored.axes, strict=True):
            walk.labels.join(axis, own)
    return value


def _along(walk: Walk, node: fx.Node) -> Any:
    """``softmax`` and what else keeps a shape and mixes the indices of an axis."""
    value = walk.value(_args(node)[0])
    axis = _dim(node, 1, -1)
    walk.labels.pin(value.axes[axis], _NORMALIZED)
    return value


def _reduce(walk: Walk, node: fx.Node) -> Any:
    """Sums, means and maxima over some axes, or over all."""
    value = walk.value(_args(node)[0])
    said = _dim(node, 1, None)
    if isinstance(said, fx.Node):  # the larger of two values
        return _elementwise(walk, node)
    count = len(value.axes)
    every = list(range(count)) if said is None or said == [] else [said] if isinstance(said, int) else list(said)
    reduced = {axis % count for axis in every} if count else set()
    for axis in reduced:
        walk.labels.pin(value.axes[axis], _REDUCED)
    found = node.meta["val"]
    first = found[0] if isinstance(found, list | tuple) else found
    keeps = len(first.shape) == count
    axes = tuple(_zeros(1) if a in reduced else axis for a, axis in enumerate(value.axes) if keeps or a not in reduced)
    result = _value(axes, value.computed)
    return (result,) * len(found) if isinstance(found, list | tuple) else result


def _positions(walk: Walk, node: fx.Node) -> Any:
    """Pools, padding and resizing: an axis whose length changes is one of positions."""
    value = walk.value(_args(node)[0])
    found = node.meta["val"]
    size = (found[0] if isinstance(found, list | tuple) else found).shape
    axes = []
    for axis, length in zip(value.axes, size, strict=True):
        if len(axis) != length:
            walk.labels.pin(axis, Why(f"it is padded or resized by {walk.here(node)}", refused=True))
        axes.append(axis if len(axis) == length else _zeros(length))
    result = _value(tuple(axes), value.computed)
    return (result,) * len(found) if isinstance(found, list | tuple) else result


def _cat(walk: Walk, node: fx.Node) -> Any:
    given = [walk.value(argument) for argument in _args(node)[0]]
    given = [v for v in given if sum(map(len, v.axes))]
    count = len(shape(node))
    along = int(_dim(node, 1, 0)) % count
    axes = []
    for axis in range(count):
        every = [v.axes[axis] for v in given]
        for other in every[1:] if axis != along else ():
            walk.labels.join(every[0], other)
        axes.append(np.concatenate(every) if axis == along else every[0])
    return _value(tuple(axes), any(v.computed for v in given))


def _stack(walk: Walk, node: fx.Node) -> Any:
    given = [walk.value(argument) for argument in _args(node)[0]]
    along = int(_dim(node, 1, 0)) % len(shape(node))
    for other in given[1:]:
        for one, two in zip(given[0].axes, other.axes, strict=True):
            walk.labels.join(one, two)
    axes = list(given[0].axes)
    axes.insert(along, _zeros(len(given)))
    return _value(tuple(axes), any(v.computed for v in given))


def _split(walk: Walk, node: fx.Node) -> Any:
    """Parts of an axis; where they are alike they shrink alike: code that cuts in equal parts would cut elsewhere."""
    value, name = walk.value(_args(node)[0]), operator(node)
    if name == "glu":
        along = _dim(node, 1, -1)
    elif name == "unbind":
        along = _dim(node, 1, 0)
    else:
        along = _dim(node, 2, 0)
    along = int(along) % len(value.axes)
    axis, rest = value.axes[along], list(value.axes)
    if name == "unbind":
        if walk.labels.free(axis):
            walk.labels.pin(axis, Why(f"is taken apart by {walk.here(node)}", refused=True))
        del rest[along]
        return (_value(tuple(rest), value.computed),) * len(axis)
    found = node.meta["val"]
    sizes = [len(axis) // 2] * 2 if name == "glu" else [int(part.shape[along]) for part in found]
    parts = np.split(axis, np.cumsum(sizes)[:-1])
    if len(set(sizes)) == 1:
        for part in parts[1:]:
            walk.labels.join(parts[0], part)
    results = [_value((*rest[:along], part, *rest[along + 1 :]), value.computed) for part in parts]
    return results[0] if name == "glu" else tuple(results)


def _slice(walk: Walk, node: fx.Node) -> Any:
    value = walk.value(_args(node)[0])
    along, start, end, step = _full(node, ("", "dim", "start", "end", "step"), (None, 0, None, None, 1))[1:]
    along = along % len(value.axes)
    taken = value.axes[along][slice(start, end, step)]
    if len(taken) < len(value.axes[along]):
        _cut(walk, node, value.axes[along])
    return _value((*value.axes[:along], taken, *value.axes[along + 1 :]), value.computed)


def _select(walk: Walk, node: fx.Node) -> Any:
    value, along = walk.value(_args(node)[0]), _args(node)[1]
    axes = list(value.axes)
    _cut(walk, node, axes.pop(along))
    return _value(tuple(axes), value.computed)


def _cut(walk: Walk, node: fx.Node, axis: Axis) -> None:
    """Some indices of an axis are taken by their numbers, which would be others."""
    if walk.labels.free(axis):
        walk.labels.pin(axis, Why(f"are taken by their numbers by {walk.here(node)}", refused=True))


def _flip(walk: Walk, node: fx.Node) -> Any:
    value = walk.value(_args(node)[0])
    turned = {axis % len(value.axes) for axis in _args(node)[1]}
    return _value(tuple(a[::-1] if i in turned else a for i, a in enumerate(value.axes)), value.computed)


def _permute(walk: Walk, node: fx.Node) -> Any:
    value, name = walk.value(_args(node)[0]), operator(node)
    order = list(range(len(value.axes)))
    if name == "permute":
        order = [int(axis) % len(order) for axis in _args(node)[1]]
    elif len(order) > 1:
        one, other = (0, 1) if name == "t" else (int(axis) for axis in _args(node)[1:3])
        order[one], order[other] = order[other], order[one]
    return _value(tuple(value.axes[axis] for axis in order), value.computed)


def _reshape(walk: Walk, node: fx.Node) -> Any:
    """Axes that are laid out anew: one may become one, or be repeated for the positions that are put into it."""
    value, after = walk.value(_args(node)[0]), shape(node)
    axes: list[Axis] = [_zeros(n) for n in after]
    for olds, news in _regrouped([len(axis) for axis in value.axes], after):
        free = [axis for axis in olds if walk.labels.free(value.axes[axis])]
        if not free:
            continue
        if len(news) > 1 or len(free) > 1:
            why = Why(f"are laid out anew by {walk.here(node)}", refused=True)
            for axis in free:
                walk.labels.pin(value.axes[axis], why)
            continue
        sizes = [len(value.axes[axis]) for axis in olds]
        at = olds.index(free[0])
        spread = value.axes[free[0]].reshape([-1 if i == at else 1 for i in range(len(olds))])
        axes[news[0]] = np.broadcast_to(spread, sizes).reshape(-1)
    return _value(tuple(axes), value.computed)


def _regrouped(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Which axes become which: the smallest runs of both that hold as many elements; axes of 1 are left out."""
    if 0 in before:
        return []
    olds, news = ([axis for axis, n in enumerate(size) if n != 1] for size in (before, after))
    found: list[tuple[list[int], list[int]]] = []
    while olds and news:
        one, other = [olds.pop(0)], [news.pop(0)]
        while (left := math.prod(before[a] for a in one)) != (right := math.prod(after[a] for a in other)):
            if left < right:
                one.append(olds.pop(0))
            else:
                other.append(news.pop(0))
        found.append((one, other))
    return found


def _expand(walk: Walk, node: fx.Node) -> Any:
    value, size = walk.value(_args(node)[0]), shape(node)
    ahead = len(size) - len(value.axes)
    known = [_zeros(1)] * ahead + list(value.axes)
    axes = tuple(axis if len(axis) == n else _zeros(n) for axis, n in zip(known, size, strict=True))
    return _value(axes, value.computed)


def _embedding(walk: Walk, node: fx.Node) -> Any:
    table, tokens = (walk.value(argument) for argument in _args(node)[:2])
    walk.labels.pin(table.axes[0], Why("a row of a table"))
    walk.produced.append(table.axes[1])
    return _value((*tokens.axes, table.axes[1]), table.computed or tokens.computed)


def _prelu(walk: Walk, node: fx.Node) -> Any:
    value, slope = (walk.value(argument) for argument in _args(node)[:2])
    if len(slope.axes[0]) == len(value.axes[1]):
        walk.labels.join(value.axes[1], slope.axes[0])
    return value


def _recurrent(walk: Walk, node: fx.Node) -> Any:
    """``lstm``, ``gru`` and ``rnn``: units of all layers and directions go together, since a module has one number."""
    value, parameters = walk.value(_args(node)[0]), [walk.value(p) for p in _args(node)[2]]
    biases, layers, bidirectional = bool(_args(node)[3]), int(_args(node)[4]), bool(_args(node)[7])
    directions, each = 2 if bidirectional else 1, 4 if biases else 2
    gates = {"lstm": 4, "gru": 3}.get(operator(node), 1)
    units = parameters[1].axes[1]
    if len(parameters) != layers * directions * each or gates * len(units) != len(parameters[1].axes[0]):
        return unknown(walk, node)
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
    batch = value.axes[0 if _args(node)[8] else 1] if len(_args(node)) > 8 else _zeros(1)
    ends = tuple(_value((_zeros(layers * directions), batch, units), True) for _ in states)
    return (_value((*value.axes[:-1], given), True), *ends)


def _made(walk: Walk, node: fx.Node) -> Any:
    """A tensor of one number: as long as the code that makes it says, which may ask others for their length."""
    return _value(tuple(walk.labels.new(n) for n in shape(node)), False)


def _alike(walk: Walk, node: fx.Node) -> Any:
    return _value(walk.value(_args(node)[0]).axes, False)


def _counted(walk: Walk, node: fx.Node) -> Any:
    return _still(walk, node)


def _nothing(walk: Walk, node: fx.Node) -> Any:
    """What reads a tensor and computes nothing."""
    return None


_SUMS = ("add", "sub", "subtract", "rsub")

_OF_ELEMENTS = """
    add sub subtract rsub mul multiply div divide true_divide pow square sqrt rsqrt reciprocal neg abs sign exp log
    log1p expm1 sin cos tanh atan erf relu relu6 hardtanh hardswish hardsigmoid silu gelu sigmoid leaky_relu elu celu
    selu softplus softsign mish log_sigmoid threshold clamp clamp_min clamp_max clip maximum minimum where masked_fill
    eq ne lt le gt ge logical_and logical_or logical_not bitwise_not floor ceil round trunc floor_divide remainder
    dropout feature_dropout alpha_dropout contiguous clone detach alias to _to_copy type_as lift_fresh_copy identity
    nan_to_num isfinite
"""
_POSITIONS = """
    max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d pad constant_pad_nd
    reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d upsample_nearest1d upsample_nearest2d
    upsample_bilinear2d upsample_bicubic2d upsample_linear1d _upsample_nearest_exact2d
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_OF_ELEMENTS.split(), _elementwise),
    **dict.fromkeys(_POSITIONS.split(), _positions),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"), _conv),
    "conv_transpose3d": _conv,
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm"), _matmul),
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "batch_norm": _batch_norm,
    "instance_norm": _batch_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("softmax", "log_softmax", "cumsum"), _along),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "argmax", "argmin"), _reduce),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split", "unbind", "glu"), _split),
    **dict.fromkeys(("slice", "narrow_copy"), _slice),
    "select": _select,
    "flip": _flip,
    **dict.fromkeys(("permute", "transpose", "t", "swapaxes", "swapdims"), _permute),
    **dict.fromkeys(("reshape", "view", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    "expand": _expand,
    "embedding": _embedding,
    "prelu": _prelu,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full"), _made),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like"), _alike),
    **dict.fromkeys(("arange", "scalar_tensor"), _counted),
    **dict.fromkeys(("_assert_tensor_metadata", "_assert_scalar", "_assert_async"), _nothing),
}
