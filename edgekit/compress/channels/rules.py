"""What operators make of the axes of their arguments.

An operator that has no rule pins all that it reads: channels that go through it stay, and are named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import fx

from edgekit.compress.channels import layouts, products
from edgekit.compress.channels.labels import Why
from edgekit.compress.channels.values import Value, args, dim, refused, still, zeros
from edgekit.compress.graph import operator, shape

if TYPE_CHECKING:
    from edgekit.compress.channels.labels import Axis
    from edgekit.compress.channels.walk import Walk

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

Rule = Callable[["Walk", fx.Node], Any]

_NORMALIZED = Why("it is normalized together with the others")
_REDUCED = Why("it is summed up with the others")


def _elementwise(walk: Walk, node: fx.Node) -> Any:
    """Arguments of one shape, or that are broadcast: an axis of the result is that of all which have it."""
    given, size = walk.arguments(node), shape(node)
    if not given:
        return still(walk, node)
    axes: list[Axis] = []
    adds = operator(node).rstrip("_") in _SUMS
    for from_last in range(-len(size), 0):
        having = [v for v in given if len(v.axes) >= -from_last and len(v.axes[from_last]) == size[from_last]]
        if not having:
            return refused(walk, node, given)
        first = having[0].axes[from_last]
        for other in having[1:]:
            # What is added to a function of itself, as some activations do, is no stream.
            apart = (walk.labels.roots(first) != walk.labels.roots(other.axes[from_last])).any()
            walk.labels.join(first, other.axes[from_last])
            if adds and apart and having[0].computed and other.computed:
                walk.labels.sum(first)
        axes.append(first)
    return Value(tuple(axes), any(v.computed for v in given))


def _batch_norm(walk: Walk, node: fx.Node) -> Any:
    value, *stored = (walk.value(argument) for argument in args(node)[:5])
    for one in stored:
        if one is not None:
            walk.labels.join(value.axes[1], one.axes[0])
    if stored and stored[0] is not None:
        walk.scaled.append(stored[0].axes[0])
    return value


def _layer_norm(walk: Walk, node: fx.Node) -> Any:
    value = walk.value(args(node)[0])
    count = len(args(node)[1])
    for axis in value.axes[-count:]:
        walk.labels.pin(axis, _NORMALIZED)
    for stored in walk.arguments(node)[1:]:
        for axis, own in zip(value.axes[-count:], stored.axes, strict=True):
            walk.labels.join(axis, own)
    return value


def _along(walk: Walk, node: fx.Node) -> Any:
    """``softmax`` and what else keeps a shape and mixes the indices of an axis."""
    value = walk.value(args(node)[0])
    axis = dim(node, 1, -1)
    walk.labels.pin(value.axes[axis], _NORMALIZED)
    return value


def _reduce(walk: Walk, node: fx.Node) -> Any:
    """Sums, means and maxima over some axes, or over all."""
    value = walk.value(args(node)[0])
    said = dim(node, 1, None)
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
    axes = tuple(zeros(1) if a in reduced else axis for a, axis in enumerate(value.axes) if keeps or a not in reduced)
    result = Value(axes, value.computed)
    return (result,) * len(found) if isinstance(found, list | tuple) else result


def _prelu(walk: Walk, node: fx.Node) -> Any:
    value, slope = (walk.value(argument) for argument in args(node)[:2])
    if len(slope.axes[0]) == len(value.axes[1]):
        walk.labels.join(value.axes[1], slope.axes[0])
    return value


def _made(walk: Walk, node: fx.Node) -> Any:
    """A tensor of one number: as long as the code that makes it says, which may ask others for their length."""
    return Value(tuple(walk.labels.new(n) for n in shape(node)), False)


def _alike(walk: Walk, node: fx.Node) -> Any:
    return Value(walk.value(args(node)[0]).axes, False)


def _counted(walk: Walk, node: fx.Node) -> Any:
    return still(walk, node)


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
    **dict.fromkeys(_POSITIONS.split(), layouts.positions),
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"), products.conv
    ),
    "conv_transpose3d": products.conv,
    "linear": products.linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "addmm"), products.matmul),
    "einsum": products.einsum,
    "scaled_dot_product_attention": products.attention,
    "batch_norm": _batch_norm,
    "instance_norm": _batch_norm,
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    **dict.fromkeys(("softmax", "log_softmax", "cumsum"), _along),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "argmax", "argmin"), _reduce),
    **dict.fromkeys(("cat", "concat", "concatenate"), layouts.cat),
    "stack": layouts.stack,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split", "unbind", "glu"), layouts.split),
    **dict.fromkeys(("slice", "narrow_copy"), layouts.sliced),
    "select": layouts.select,
    "flip": layouts.flip,
    **dict.fromkeys(("permute", "transpose", "t", "swapaxes", "swapdims"), layouts.permute),
    **dict.fromkeys(
        ("reshape", "view", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), layouts.reshape
    ),
    "expand": layouts.expand,
    "expand_as": layouts.expand_as,
    "embedding": products.embedding,
    "embedding_bag": products.embedding_bag,
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), products.cell),
    **dict.fromkeys(("_weight_norm", "_weight_norm_interface"), products.weight_norm),
    "prelu": _prelu,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), products.recurrent),
    **dict.fromkeys(("zeros", "ones", "full", "empty", "new_zeros", "new_ones", "new_full"), _made),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like"), _alike),
    **dict.fromkeys(("arange", "scalar_tensor"), _counted),
    **dict.fromkeys(("_assert_tensor_metadata", "_assert_scalar", "_assert_async"), _nothing),
}
