"""One case or more per operator of the ML Program evaluator: inputs, and what PyTorch gives for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Array = NDArray[Any]
Case = tuple[dict[str, Any], Any]
Rng = np.random.Generator


def normal(rng: Rng, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def t(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def i32(*values: int) -> Array:
    return np.array(values, np.int32)


def _unary(function: Callable[[torch.Tensor], torch.Tensor], low: float = -3, high: float = 3) -> Any:
    def case(rng: Rng) -> list[Case]:
        x = rng.uniform(low, high, (2, 3, 4)).astype(np.float32)
        return [({"x": x}, function(t(x)))]

    return case


def _binary(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], *, positive: bool = False) -> Any:
    def case(rng: Rng) -> list[Case]:
        x, y = normal(rng, 2, 3, 4), normal(rng, 3, 1)
        if positive:
            x, y = np.abs(x) + 0.1, np.abs(y) + 0.1
        return [({"x": x, "y": y}, function(t(x), t(y)))]

    return case


def _compared(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Any:
    def case(rng: Rng) -> list[Case]:
        x, y = rng.integers(0, 3, (4, 5)).astype(np.int32), rng.integers(0, 3, (5,)).astype(np.int32)
        return [({"x": x, "y": y}, function(t(x), t(y)))]

    return case


def _logical(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Any:
    def case(rng: Rng) -> list[Case]:
        x, y = rng.random((3, 4)) < 0.5, rng.random((3, 4)) < 0.5
        return [({"x": x, "y": y}, function(t(x), t(y)))]

    return case


def _reduced(function: Callable[..., torch.Tensor], *, positive: bool = False) -> Any:
    def case(rng: Rng) -> list[Case]:
        x = normal(rng, 2, 3, 4)
        x = np.abs(x) + 0.1 if positive else x
        return [
            ({"x": x, "axes": i32(1, -1), "keep_dims": np.bool_(True)}, function(t(x), (1, 2), keepdim=True)),
            ({"x": x, "axes": i32(0), "keep_dims": np.bool_(False)}, function(t(x), (0,), keepdim=False)),
        ]

    return case


def _product(x: torch.Tensor, axes: tuple[int, ...], *, keepdim: bool) -> torch.Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keepdim)
    return x


CASES: dict[str, Callable[[Rng], list[Case]]] = {
    "add": _binary(torch.add),
    "sub": _binary(torch.sub),
    "mul": _binary(torch.mul),
    "real_div": _binary(torch.div, positive=True),
    "floor_div": _binary(torch.floor_divide, positive=True),
    "mod": _binary(torch.remainder, positive=True),
    "pow": _binary(torch.pow, positive=True),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "equal": _compared(torch.eq),
    "not_equal": _compared(torch.ne),
    "less": _compared(torch.lt),
    "less_equal": _compared(torch.le),
    "greater": _compared(torch.gt),
    "greater_equal": _compared(torch.ge),
    "logical_and": _logical(torch.logical_and),
    "logical_or": _logical(torch.logical_or),
    "logical_xor": _logical(torch.logical_xor),
    "abs": _unary(torch.abs),
    "sign": _unary(torch.sign),
    "ceil": _unary(torch.ceil),
    "floor": _unary(torch.floor),
    "round": _unary(torch.round),
    "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2),
    "sqrt": _unary(torch.sqrt, 0, 4),
    "square": _unary(torch.square),
    "sin": _unary(torch.sin),
    "cos": _unary(torch.cos),
    "tan": _unary(torch.tan, -1, 1),
    "asin": _unary(torch.asin, -0.9, 0.9),
    "acos": _unary(torch.acos, -0.9, 0.9),
    "atan": _unary(torch.atan),
    "sinh": _unary(torch.sinh),
    "cosh": _unary(torch.cosh),
    "atanh": _unary(torch.atanh, -0.9, 0.9),
    "tanh": _unary(torch.tanh),
    "erf": _unary(torch.erf),
    "sigmoid": _unary(torch.sigmoid, -9, 9),
    "relu": _unary(F.relu),
    "relu6": _unary(F.relu6, -9, 9),
    "silu": _unary(F.silu, -9, 9),
    "softsign": _unary(F.softsign),
    "softplus": _unary(F.softplus, -9, 9),
    "identity": _unary(lambda x: x),
    "reduce_mean": _reduced(torch.mean),
    "reduce_sum": _reduced(torch.sum),
    "reduce_max": _reduced(torch.amax),
    "reduce_min": _reduced(torch.amin),
    "reduce_prod": _reduced(_product),
    "reduce_l1_norm": _reduced(lambda x, a, keepdim: torch.sum(x.abs(), a, keepdim=keepdim)),
    "reduce_l2_norm": _reduced(lambda x, a, keepdim: torch.linalg.vector_norm(x, dim=a, keepdim=keepdim)),
    "reduce_sum_square": _reduced(lambda x, a, keepdim: torch.sum(x * x, a, keepdim=keepdim)),
    "reduce_log_sum": _reduced(lambda x, a, keepdim: torch.log(torch.sum(x, a, keepdim=keepdim)), positive=True),
    "reduce_log_sum_exp": _reduced(torch.logsumexp),
}


def logical_not(rng: Rng) -> list[Case]:
    x = rng.random((3, 4)) < 0.5
    return [({"x": x}, ~t(x))]


def rsqrt(rng: Rng) -> list[Case]:
    x = rng.uniform(0.1, 4, (3, 4)).astype(np.float32)
    return [({"x": x, "epsilon": np.float32(1e-3)}, torch.rsqrt(t(x) + 1e-3))]


def inverse(rng: Rng) -> list[Case]:
    x = rng.uniform(0.1, 4, (3, 4)).astype(np.float32)
    return [({"x": x, "epsilon": np.float32(1e-3)}, torch.reciprocal(t(x) + 1e-3))]


def log(rng: Rng) -> list[Case]:
    x = rng.uniform(0.1, 4, (3, 4)).astype(np.float32)
    return [({"x": x, "epsilon": np.float32(1e-3)}, torch.log(t(x) + 1e-3))]


def clip(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "alpha": np.float32(-0.5), "beta": np.float32(0.7)}, torch.clamp(t(x), -0.5, 0.7))]


def threshold(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "alpha": np.float32(0.3)}, torch.clamp_min(t(x), 0.3))]


def cast(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4) * 5
    y = rng.integers(-3, 3, (3, 4)).astype(np.int32)
    return [({"x": x, "dtype": "int32"}, t(x).to(torch.int32)), ({"x": y, "dtype": "fp32"}, t(y).float())]


def gelu(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4) * 2
    return [
        ({"x": x, "mode": "EXACT"}, F.gelu(t(x))),
        ({"x": x, "mode": "TANH_APPROXIMATION"}, F.gelu(t(x), approximate="tanh")),
        ({"x": x, "mode": "SIGMOID_APPROXIMATION"}, t(x) * torch.sigmoid(1.702 * t(x))),
    ]


def leaky_relu(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "alpha": np.float32(0.2)}, F.leaky_relu(t(x), 0.2))]


def elu(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "alpha": np.float32(0.7)}, F.elu(t(x), 0.7))]


def prelu(rng: Rng) -> list[Case]:
    x, alpha = normal(rng, 1, 3, 4, 4), normal(rng, 3)
    return [({"x": x, "alpha": alpha}, F.prelu(t(x), t(alpha)))]


def sigmoid_hard(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4) * 4
    return [({"x": x, "alpha": np.float32(1 / 6), "beta": np.float32(0.5)}, F.hardsigmoid(t(x)))]


def scaled_tanh(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "alpha": np.float32(1.7), "beta": np.float32(0.6)}, 1.7 * torch.tanh(0.6 * t(x)))]


def linear_activation(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "alpha": np.float32(1.5), "beta": np.float32(0.3)}, torch.add(1.5 * t(x), 0.3))]


def clamped_relu(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    expected = torch.clamp_max(F.leaky_relu(t(x), 0.2), 0.8)
    return [({"x": x, "alpha": np.float32(0.2), "beta": np.float32(0.8)}, expected)]


def thresholded_relu(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "alpha": np.float32(0.4)}, F.threshold(t(x), 0.4, 0))]


def select(rng: Rng) -> list[Case]:
    cond, a, b = rng.random((3, 4)) < 0.5, normal(rng, 3, 4), normal(rng, 3, 4)
    return [({"cond": cond, "a": a, "b": b}, torch.where(t(cond), t(a), t(b)))]


def transpose(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3, 4)
    return [({"x": x, "perm": i32(2, 0, 1)}, t(x).permute(2, 0, 1))]


def reshape(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3, 4)
    return [({"x": x, "shape": i32(4, -1)}, t(x).reshape(4, 6))]


def expand_dims(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3)
    return [({"x": x, "axes": i32(0, 2)}, t(x)[None, :, None])]


def squeeze(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 3, 1, 2)
    return [({"x": x, "axes": i32(0, -2)}, t(x).squeeze(2).squeeze(0))]


def flatten2d(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3, 4)
    return [({"x": x, "axis": np.int32(2)}, t(x).flatten(0, 1))]


def concat(rng: Rng) -> list[Case]:
    a, b = normal(rng, 2, 3), normal(rng, 2, 3)
    turns = torch.stack([t(a), t(b)], 2).reshape(2, 6)
    return [
        ({"values": [a, b], "axis": np.int32(-1)}, torch.cat([t(a), t(b)], -1)),
        ({"values": [a, b], "axis": np.int32(1), "interleave": np.bool_(True)}, turns),
    ]


def stack(rng: Rng) -> list[Case]:
    a, b = normal(rng, 2, 3), normal(rng, 2, 3)
    return [({"values": [a, b], "axis": np.int32(1)}, torch.stack([t(a), t(b)], 1))]


def split(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 6)
    return [
        ({"x": x, "axis": np.int32(1), "split_sizes": i32(1, 2, 3)}, torch.split(t(x), [1, 2, 3], 1)),
        ({"x": x, "axis": np.int32(1), "num_splits": np.int32(3)}, torch.chunk(t(x), 3, 1)),
    ]


def reverse(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3, 4)
    return [({"x": x, "axes": i32(0, 2)}, torch.flip(t(x), (0, 2)))]


def tile(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3)
    return [({"x": x, "reps": i32(2, 3)}, t(x).repeat(2, 3))]


def pad(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 4, 5)
    sides, given = (3, 2, 1, 0), i32(1, 0, 3, 2)  # PyTorch counts from the last axis
    constant = {"x": x, "pad": given, "mode": "constant", "constant_val": np.float32(0.5)}
    return [
        (constant, F.pad(t(x), sides, value=0.5)),
        ({"x": x, "pad": given, "mode": "reflect"}, F.pad(t(x), sides, mode="reflect")),
        ({"x": x, "pad": given, "mode": "replicate"}, F.pad(t(x), sides, mode="replicate")),
    ]


def slice_by_index(rng: Rng) -> list[Case]:
    x = normal(rng, 4, 5, 6)
    masks = {"begin_mask": np.array([False, True, False]), "end_mask": np.array([True, False, False])}
    squeezed = {"squeeze_mask": np.array([False, False, True])}
    given = {"x": x, "begin": i32(1, 0, 2), "end": i32(0, 4, 3), "stride": i32(2, 1, 1)}
    return [({**given, **masks, **squeezed}, t(x)[1::2, :4, 2])]


def slice_update(rng: Rng) -> list[Case]:
    x, update = normal(rng, 4, 5), normal(rng, 2, 2)
    expected = t(x).clone()
    expected[1:3, 2:4] = t(update)
    return [({"x": x, "update": update, "begin": i32(1, 2), "end": i32(3, 4)}, expected)]


def slice_by_size(rng: Rng) -> list[Case]:
    x = normal(rng, 4, 5)
    return [({"x": x, "begin": i32(1, 2), "size": i32(2, -1)}, t(x)[1:3, 2:])]


def gather(rng: Rng) -> list[Case]:
    x, at = normal(rng, 4, 5), rng.integers(0, 4, (2, 3)).astype(np.int32)
    y, rows = normal(rng, 2, 5, 3), rng.integers(0, 5, (2, 4)).astype(np.int32)
    per_row = torch.stack([t(y)[i][t(rows[i]).long()] for i in range(2)])
    return [
        ({"x": x, "indices": at, "axis": np.int32(0), "batch_dims": np.int32(0)}, F.embedding(t(at).long(), t(x))),
        ({"x": y, "indices": rows, "axis": np.int32(1), "batch_dims": np.int32(1)}, per_row),
    ]


def gather_along_axis(rng: Rng) -> list[Case]:
    x, at = normal(rng, 4, 5), rng.integers(0, 5, (4, 2)).astype(np.int32)
    return [({"x": x, "indices": at, "axis": np.int32(1)}, torch.gather(t(x), 1, t(at).long()))]


def gather_nd(rng: Rng) -> list[Case]:
    x, at = normal(rng, 4, 5, 2), np.stack([rng.integers(0, 4, 3), rng.integers(0, 5, 3)], -1).astype(np.int32)
    return [({"x": x, "indices": at}, t(x)[t(at[:, 0]).long(), t(at[:, 1]).long()])]


def scatter(rng: Rng) -> list[Case]:
    data, at, new = normal(rng, 4, 5), i32(2, 0), normal(rng, 2, 5)
    rows = t(at).long()
    added = t(data).index_add(0, rows, t(new))
    replaced = t(data).index_copy(0, rows, t(new))
    given = {"data": data, "indices": at, "updates": new, "axis": np.int32(0)}
    return [({**given, "mode": "add"}, added), ({**given, "mode": "update"}, replaced)]


def scatter_along_axis(rng: Rng) -> list[Case]:
    data, at, new = normal(rng, 3, 5), i32(1, 0, 4).reshape(3, 1), normal(rng, 3, 1)
    expected = t(data).scatter(1, t(at).long(), t(new))
    given = {"data": data, "indices": at, "updates": new, "axis": np.int32(1), "mode": "update"}
    return [(given, expected)]


def scatter_nd(rng: Rng) -> list[Case]:
    data, at, new = normal(rng, 3, 5), np.array([[0, 1], [2, 4]], np.int32), normal(rng, 2)
    expected = t(data).index_put((t(at[:, 0]).long(), t(at[:, 1]).long()), t(new), accumulate=True)
    return [({"data": data, "indices": at, "updates": new, "mode": "add"}, expected)]


def shape(rng: Rng) -> list[Case]:
    return [({"x": normal(rng, 2, 3, 4)}, torch.tensor([2, 3, 4], dtype=torch.int32))]


def fill(rng: Rng) -> list[Case]:
    return [({"shape": i32(2, 3), "value": np.float32(1.5)}, torch.full((2, 3), 1.5))]


def fill_like(rng: Rng) -> list[Case]:
    return [({"ref_tensor": normal(rng, 2, 3), "value": np.float32(1.5)}, torch.full((2, 3), 1.5))]


def range_1d(rng: Rng) -> list[Case]:
    return [({"start": np.int32(2), "end": np.int32(9), "step": np.int32(3)}, torch.arange(2, 9, 3, dtype=torch.int32))]


def one_hot(rng: Rng) -> list[Case]:
    at = rng.integers(0, 5, (2, 3)).astype(np.int32)
    given = {"indices": at, "one_hot_vector_size": np.int32(5), "axis": np.int32(-1)}
    values = {"on_value": np.float32(2), "off_value": np.float32(-1)}
    return [({**given, **values}, F.one_hot(t(at).long(), 5).float() * 3 - 1)]


def band_part(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 4, 5)
    return [
        ({"x": x, "lower": np.int32(1), "upper": np.int32(-1)}, torch.triu(t(x), -1)),
        ({"x": x, "lower": np.int32(-1), "upper": np.int32(0)}, torch.tril(t(x))),
    ]


def cumsum(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    turned = torch.flip(torch.cumsum(torch.flip(t(x), (1,)), 1), (1,)) - t(x)
    last = {"exclusive": np.bool_(True), "reverse": np.bool_(True)}
    return [
        ({"x": x, "axis": np.int32(0)}, torch.cumsum(t(x), 0)),
        ({"x": x, "axis": np.int32(1), **last}, turned),
    ]


def argsort(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "axis": np.int32(1), "ascending": np.bool_(True)}, torch.argsort(t(x), 1).int())]


def topk(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 6)
    values, places = torch.topk(t(x), 2, dim=1)
    return [({"x": x, "k": np.int32(2), "axis": np.int32(1)}, (values, places.int()))]


def depth_to_space(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 8, 2, 3)
    # PyTorch counts the block's position as the faster part of the channel: regroup first.
    regrouped = t(x).reshape(1, 4, 2, 2, 3).transpose(1, 2).reshape(1, 8, 2, 3)
    return [({"x": x, "block_size": np.int32(2)}, F.pixel_shuffle(regrouped, 2))]


def space_to_depth(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 4, 6)
    regrouped = F.pixel_unshuffle(t(x), 2).reshape(1, 2, 4, 2, 3).transpose(1, 2).reshape(1, 8, 2, 3)
    return [({"x": x, "block_size": np.int32(2)}, regrouped)]


def pixel_shuffle(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 8, 2, 3)
    return [({"x": x, "upscale_factor": np.int32(2)}, F.pixel_shuffle(t(x), 2))]


def pixel_unshuffle(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3, 4, 6)
    return [({"x": x, "downscale_factor": np.uint32(2)}, F.pixel_unshuffle(t(x), 2))]


def reduce_argmax(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "axis": np.int32(1), "keep_dims": np.bool_(False)}, torch.argmax(t(x), 1).int())]


def reduce_argmin(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4)
    return [({"x": x, "axis": np.int32(1), "keep_dims": np.bool_(True)}, torch.argmin(t(x), 1, keepdim=True).int())]


def conv(rng: Rng) -> list[Case]:
    x, bias = normal(rng, 1, 4, 7, 8), normal(rng, 6)
    full, grouped, depth = normal(rng, 6, 4, 3, 3), normal(rng, 6, 2, 3, 2), normal(rng, 4, 1, 3, 3)
    point, line = normal(rng, 6, 4, 1, 1), normal(rng, 5, 4, 3)
    custom = {"pad_type": "custom", "pad": i32(1, 2, 0, 1)}
    padded = F.pad(t(x), (0, 1, 1, 2))
    sequence = normal(rng, 1, 4, 9)
    return [
        (
            {"x": x, "weight": full, "bias": bias, "strides": i32(2, 1), **custom},
            F.conv2d(padded, t(full), t(bias), (2, 1)),
        ),
        (
            {"x": x, "weight": full, "dilations": i32(2, 1), "pad_type": "valid"},
            F.conv2d(t(x), t(full), dilation=(2, 1)),
        ),
        ({"x": x, "weight": grouped, "groups": np.int32(2), "pad_type": "valid"}, F.conv2d(t(x), t(grouped), groups=2)),
        (
            {"x": x, "weight": depth, "groups": np.int32(4), "strides": i32(2, 2), "pad_type": "valid"},
            F.conv2d(t(x), t(depth), stride=2, groups=4),
        ),
        ({"x": x, "weight": point, "strides": i32(2, 2), "pad_type": "valid"}, F.conv2d(t(x), t(point), stride=2)),
        ({"x": x, "weight": full, "pad_type": "same"}, F.conv2d(t(x), t(full), padding="same")),
        (
            {"x": x, "weight": full, "strides": i32(2, 2), "pad_type": "same"},
            F.conv2d(F.pad(t(x), (0, 1, 1, 1)), t(full), stride=2),
        ),
        ({"x": sequence, "weight": line, "pad_type": "valid"}, F.conv1d(t(sequence), t(line))),
    ]


def conv_transpose(rng: Rng) -> list[Case]:
    x, weight, bias = normal(rng, 1, 4, 3, 5), normal(rng, 4, 3, 3, 2), normal(rng, 3)
    grouped = normal(rng, 4, 2, 3, 3)
    custom = {"pad_type": "custom", "pad": i32(1, 0, 1, 1)}
    cropped = F.conv_transpose2d(t(x), t(weight), t(bias), stride=2)[..., 1:, 1:-1]
    return [
        (
            {"x": x, "weight": weight, "bias": bias, "strides": i32(2, 3), "pad_type": "valid"},
            F.conv_transpose2d(t(x), t(weight), t(bias), stride=(2, 3)),
        ),
        (
            {"x": x, "weight": weight, "bias": bias, "strides": i32(2, 2), **custom},
            cropped,
        ),
        (
            {"x": x, "weight": grouped, "groups": np.int32(2), "strides": i32(2, 2), "pad_type": "valid"},
            F.conv_transpose2d(t(x), t(grouped), stride=2, groups=2),
        ),
    ]


def max_pool(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 7, 8)
    sizes = {"kernel_sizes": i32(3, 2), "strides": i32(2, 2)}
    return [
        ({"x": x, **sizes, "pad_type": "valid"}, F.max_pool2d(t(x), (3, 2), 2)),
        (
            {"x": x, **sizes, "pad_type": "custom", "pad": i32(1, 1, 1, 1)},
            F.max_pool2d(t(x), (3, 2), 2, padding=(1, 1)),
        ),
        (
            {"x": x, "kernel_sizes": i32(2, 2), "strides": i32(2, 2), "pad_type": "custom", "pad": i32(0, 0, 0, 0),
             "ceil_mode": np.bool_(True)},
            F.max_pool2d(t(x), 2, 2, ceil_mode=True),
        ),
    ]  # fmt: skip


def avg_pool(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 7, 8)
    sizes = {"kernel_sizes": i32(3, 2), "strides": i32(2, 2), "pad_type": "custom", "pad": i32(1, 1, 1, 1)}
    return [
        (
            {"x": x, **sizes, "exclude_padding_from_average": np.bool_(False)},
            F.avg_pool2d(t(x), (3, 2), 2, padding=(1, 1), count_include_pad=True),
        ),
        (
            {"x": x, **sizes, "exclude_padding_from_average": np.bool_(True)},
            F.avg_pool2d(t(x), (3, 2), 2, padding=(1, 1), count_include_pad=False),
        ),
    ]


def linear(rng: Rng) -> list[Case]:
    x, weight, bias = normal(rng, 2, 3, 4), normal(rng, 5, 4), normal(rng, 5)
    return [({"x": x, "weight": weight, "bias": bias}, F.linear(t(x), t(weight), t(bias)))]


def matmul(rng: Rng) -> list[Case]:
    x, y = normal(rng, 2, 4, 3), normal(rng, 2, 5, 4)
    both = {"transpose_x": np.bool_(True), "transpose_y": np.bool_(True)}
    return [({"x": x, "y": y, **both}, t(x).mT @ t(y).mT)]


def einsum(rng: Rng) -> list[Case]:
    x, y = normal(rng, 1, 3, 4, 5), normal(rng, 1, 5, 4, 6)
    equation = "nchw,nwhu->nchu"
    return [({"values": [x, y], "equation": equation}, torch.einsum(equation, t(x), t(y)))]


def scaled_dot_product_attention(rng: Rng) -> list[Case]:
    q, k, v, mask = normal(rng, 1, 2, 3, 4), normal(rng, 1, 2, 5, 4), normal(rng, 1, 2, 5, 4), normal(rng, 3, 5)
    allowed = rng.random((3, 5)) < 0.7
    allowed[:, 0] = True
    given = {"query": q, "key": k, "value": v}
    return [
        ({**given, "attn_mask": mask}, F.scaled_dot_product_attention(t(q), t(k), t(v), attn_mask=t(mask))),
        ({**given, "attn_mask": allowed}, F.scaled_dot_product_attention(t(q), t(k), t(v), attn_mask=t(allowed))),
    ]


def softmax(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3, 4) * 20
    return [({"x": x, "axis": np.int32(1)}, F.softmax(t(x), 1))]


def layer_norm(rng: Rng) -> list[Case]:
    x, gamma, beta = normal(rng, 2, 3, 4) + 2, normal(rng, 4), normal(rng, 4)
    given = {"x": x, "axes": i32(-1), "gamma": gamma, "beta": beta, "epsilon": np.float32(1e-3)}
    return [(given, F.layer_norm(t(x), [4], t(gamma), t(beta), 1e-3))]


def batch_norm(rng: Rng) -> list[Case]:
    x, mean, gamma, beta = normal(rng, 2, 3, 4, 4), normal(rng, 3), normal(rng, 3), normal(rng, 3)
    variance = rng.uniform(0.1, 2, 3).astype(np.float32)
    given = {"x": x, "mean": mean, "variance": variance, "gamma": gamma, "beta": beta, "epsilon": np.float32(1e-3)}
    return [(given, F.batch_norm(t(x), t(mean), t(variance), t(gamma), t(beta), eps=1e-3))]


def instance_norm(rng: Rng) -> list[Case]:
    x, gamma, beta = normal(rng, 2, 3, 4, 5), normal(rng, 3), normal(rng, 3)
    given = {"x": x, "gamma": gamma, "beta": beta, "epsilon": np.float32(1e-3)}
    return [(given, F.instance_norm(t(x), weight=t(gamma), bias=t(beta), eps=1e-3))]


def l2_norm(rng: Rng) -> list[Case]:
    x = normal(rng, 2, 3, 4, 5)
    squares = torch.linalg.vector_norm(t(x), dim=(1, 2, 3), keepdim=True) ** 2
    return [({"x": x, "epsilon": np.float32(1e-3)}, t(x) / torch.sqrt(squares + 1e-3))]


def upsample_nearest_neighbor(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 3, 4)
    given = {"x": x, "scale_factor_height": np.float32(2), "scale_factor_width": np.float32(3)}
    return [(given, F.interpolate(t(x), scale_factor=(2, 3), mode="nearest"))]


def upsample_bilinear(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 3, 4)
    given = {"x": x, "scale_factor_height": np.float32(2), "scale_factor_width": np.float32(3)}
    return [
        (
            {**given, "align_corners": np.bool_(corners)},
            F.interpolate(t(x), scale_factor=(2, 3), mode="bilinear", align_corners=corners),
        )
        for corners in (True, False)
    ]


def resize_nearest_neighbor(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 3, 4)
    given = {"x": x, "target_size_height": np.int32(6), "target_size_width": np.int32(8)}
    return [(given, F.interpolate(t(x), size=(6, 8), mode="nearest"))]


def resize_bilinear(rng: Rng) -> list[Case]:
    x = normal(rng, 1, 2, 3, 4)
    given = {"x": x, "target_size_height": np.int32(5), "target_size_width": np.int32(7)}
    return [
        (
            {**given, "sampling_mode": mode},
            F.interpolate(t(x), size=(5, 7), mode="bilinear", align_corners=mode == "STRICT_ALIGN_CORNERS"),
        )
        for mode in ("STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS")
    ]


def _cell(kind: str, rng: Rng, width: int, units: int, *, both: bool = False) -> Any:
    torch.manual_seed(int(rng.integers(1 << 30)))
    return getattr(torch.nn, kind)(width, units, bidirectional=both)


def _gates(weight: Any, order: tuple[int, ...]) -> Array:
    parts = np.split(weight.detach().numpy(), len(order))
    return np.concatenate([parts[i] for i in order])


def lstm(rng: Rng) -> list[Case]:
    x, h, c = normal(rng, 5, 1, 3), normal(rng, 2, 1, 4), normal(rng, 2, 1, 4)
    layer = _cell("LSTM", rng, 3, 4, both=True)
    order = (0, 1, 3, 2)  # PyTorch: input, forget, cell, output
    with torch.no_grad():
        out, (hn, cn) = layer(t(x), (t(h), t(c)))
        first = (t(h[:1]), t(c[:1]))
        alone = torch._VF.lstm(t(x), first, layer._flat_weights[:4], True, 1, 0.0, False, False, False)[0]
    given: dict[str, Any] = {"x": x}
    for suffix, tail in (("", ""), ("_back", "_reverse")):
        given[f"weight_ih{suffix}"] = _gates(getattr(layer, f"weight_ih_l0{tail}"), order)
        given[f"weight_hh{suffix}"] = _gates(getattr(layer, f"weight_hh_l0{tail}"), order)
        bias = getattr(layer, f"bias_ih_l0{tail}") + getattr(layer, f"bias_hh_l0{tail}")
        given[f"bias{suffix}"] = _gates(bias, order)
    one = {k: v for k, v in given.items() if not k.endswith("_back")}
    joined = {"initial_h": np.concatenate(h, -1), "initial_c": np.concatenate(c, -1)}
    sequence = {"output_sequence": np.bool_(True)}
    return [
        ({**given, **joined, "direction": "bidirectional", **sequence},
         (out, torch.cat(tuple(hn), -1), torch.cat(tuple(cn), -1))),
        ({**one, "initial_h": h[0], "initial_c": c[0], "direction": "forward", **sequence}, (alone, None, None)),
        ({**one, "initial_h": h[0], "initial_c": c[0], "direction": "forward", "output_sequence": np.bool_(False)},
         (alone[-1:], alone[-1], None)),
    ]  # fmt: skip


def gru(rng: Rng) -> list[Case]:
    x, h = normal(rng, 5, 1, 3), normal(rng, 1, 1, 4)
    layer = _cell("GRU", rng, 3, 4)
    with torch.no_grad():
        layer.bias_hh_l0[8:] = 0  # Core ML has one bias; the candidate's recurrent one cannot be merged
        out, last = layer(t(x), t(h))
    order = (0, 2, 1)  # PyTorch: reset, update, candidate
    weights = {"weight_ih": _gates(layer.weight_ih_l0, order), "weight_hh": _gates(layer.weight_hh_l0, order)}
    given = {"x": x, "initial_h": h[0], **weights, "bias": _gates(layer.bias_ih_l0 + layer.bias_hh_l0, order)}
    return [({**given, "output_sequence": np.bool_(True)}, (out, last[0]))]


def rnn(rng: Rng) -> list[Case]:
    x, h = normal(rng, 5, 1, 3), normal(rng, 1, 1, 4)
    layer = _cell("RNN", rng, 3, 4)
    with torch.no_grad():
        out, last = layer(t(x), t(h))
    weights = {"weight_ih": layer.weight_ih_l0.detach().numpy(), "weight_hh": layer.weight_hh_l0.detach().numpy()}
    bias = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().numpy()
    given = {"x": x, "initial_h": h[0], **weights, "bias": bias, "output_sequence": np.bool_(True)}
    return [(given, (out, last[0]))]


def quantize(rng: Rng) -> list[Case]:
    x = normal(rng, 3, 4) * 3
    scales = np.array([0.1, 0.2, 0.05], np.float32)
    per_tensor = torch.quantize_per_tensor(t(x), 0.05, 3, torch.quint8).int_repr()
    zeros = torch.zeros(3, dtype=torch.int32)
    per_channel = torch.quantize_per_channel(t(x), t(scales), zeros, 0, torch.qint8).int_repr()
    one = {"scale": np.float32(0.05), "zero_point": np.uint8(3), "output_dtype": "uint8"}
    return [
        ({"input": x, **one}, per_tensor),
        ({"input": x, "scale": scales, "axis": np.int32(0), "output_dtype": "int8"}, per_channel),
    ]


def dequantize(rng: Rng) -> list[Case]:
    q, scales = rng.integers(-128, 128, (3, 4)).astype(np.int8), np.array([0.1, 0.2, 0.05, 0.3], np.float32)
    zero = np.array([1, -2, 3, 0], np.int8)
    given = {"input": q, "scale": scales, "zero_point": zero, "axis": np.int32(1)}
    return [(given, (t(q).float() - t(zero).float()) * t(scales))]


CASES |= {
    name: found
    for name, found in list(globals().items())
    if callable(found) and getattr(found, "__annotations__", {}).get("return") == "list[Case]" and name[0] != "_"
}


def expected_list(expected: Any) -> list[Array | None]:
    """Expected results as arrays; None where a case does not say."""
    found = expected if isinstance(expected, tuple | list) else [expected]
    return [None if e is None else e.detach().numpy() for e in found]


def as_list(found: Any) -> list[Array]:
    return list(found) if isinstance(found, tuple) else [found]


Given = Mapping[str, Any]
