"""Operators that move, pick, join and reduce values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]


def transpose(*, x: Array, perm: Array) -> Array:
    """Permute the axes."""
    return np.transpose(x, [int(p) for p in perm])


def reshape(*, x: Array, shape: Array) -> Array:
    """Give another shape; -1 is what is left, 0 keeps the axis."""
    return x.reshape([x.shape[a] if n == 0 and a < x.ndim else int(n) for a, n in enumerate(shape)])


def expand_dims(*, x: Array, axes: Array) -> Array:
    """Insert axes of size 1 at these places of the result."""
    return np.expand_dims(x, tuple(int(a) for a in np.ravel(axes)))


def squeeze(*, x: Array, axes: Array | None = None) -> Array:
    """Remove axes of size 1: these, or all."""
    return np.squeeze(x, None if axes is None else tuple(int(a) for a in np.ravel(axes)))


def flatten2d(*, x: Array, axis: Array | int = 1) -> Array:
    """Flatten the axes before ``axis``, and those from it on."""
    return x.reshape(math.prod(x.shape[: int(axis)]), -1)


def concat(*, values: list[Array], axis: Array, interleave: Array | bool = False) -> Array:
    """Join along an axis; ``interleave`` takes one of each in turn."""
    if not bool(interleave):
        return np.concatenate(values, axis=int(axis))
    place = int(axis) % values[0].ndim
    shape = [n * len(values) if a == place else n for a, n in enumerate(values[0].shape)]
    return np.stack(values, axis=place + 1).reshape(shape)


def stack(*, values: list[Array], axis: Array) -> Array:
    """Join along a new axis."""
    return np.stack(values, axis=int(axis))


def split(
    *, x: Array, axis: Array, num_splits: Array | None = None, split_sizes: Array | None = None
) -> tuple[Array, ...]:
    """Cut into pieces of given sizes, or into equal ones."""
    if split_sizes is not None:
        sizes = [int(n) for n in split_sizes]
        if sum(sizes) != x.shape[int(axis)]:
            raise ValueError(f"pieces of {sizes} from an axis of {x.shape[int(axis)]}")
        return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=int(axis)))
    if num_splits is None:
        raise ValueError("split needs num_splits or split_sizes")
    return tuple(np.split(x, int(num_splits), axis=int(axis)))


def reverse(*, x: Array, axes: Array | None = None) -> Array:
    """Turn axes round: these, or all."""
    return np.flip(x, None if axes is None else tuple(int(a) for a in np.ravel(axes)))


def tile(*, x: Array, reps: Array) -> Array:
    """Repeat the whole along each axis."""
    counts = [int(r) for r in reps]
    _room([n * r for n, r in zip(x.shape, counts, strict=True)])
    return np.tile(x, counts)


def pad(*, x: Array, pad: Array, mode: str = "constant", constant_val: Array | float = 0.0) -> Array:
    """Add positions around the last ``len(pad) / 2`` axes: before and after each, in the order of the axes."""
    given = [int(p) for p in np.ravel(pad)]
    width = [(0, 0)] * (x.ndim - len(given) // 2) + list(zip(given[::2], given[1::2], strict=True))
    _room([n + a + b for n, (a, b) in zip(x.shape, width, strict=True)])
    if mode == "constant":
        return np.pad(x, width, constant_values=np.asarray(constant_val).item())
    kinds = {"reflect": "reflect", "replicate": "edge"}
    if mode not in kinds:
        raise ValueError(f"pad mode {mode!r}; known: constant, {', '.join(kinds)}")
    return np.pad(x, width, mode=kinds[mode])  # type: ignore[call-overload]


def slice_by_index(
    *,
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    """``x[begin:end:stride]``; a begin or end that is masked is open, a squeezed axis takes one position."""
    return x[_places(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)]


def slice_update(
    *,
    x: Array,
    update: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    """Return ``x`` with that slice replaced."""
    y = x.copy()
    y[_places(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)] = update
    return y


def _places(
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None,
    begin_mask: Array | None,
    end_mask: Array | None,
    squeeze_mask: Array | None,
) -> tuple[int | slice, ...]:
    steps = [1] * x.ndim if stride is None else [int(s) for s in stride]
    opened, closed, squeezed = (
        [False] * x.ndim if mask is None else [bool(m) for m in mask] for mask in (begin_mask, end_mask, squeeze_mask)
    )
    if not len(begin) == len(end) == len(steps) == x.ndim:
        raise ValueError(f"begin and end have {len(begin)} and {len(end)} numbers for {x.ndim} axes")
    found: list[int | slice] = []
    for a in range(x.ndim):
        if squeezed[a]:
            found.append(0 if opened[a] else int(begin[a]))
        else:
            first = None if opened[a] else int(begin[a])
            found.append(slice(first, None if closed[a] else int(end[a]), steps[a]))
    return tuple(found)


def slice_by_size(*, x: Array, begin: Array, size: Array) -> Array:
    """``size`` positions from ``begin``; -1 takes all that follow."""
    starts = [int(b) % n if b < 0 else int(b) for b, n in zip(begin, x.shape, strict=True)]
    ends = [n if s == -1 else b + int(s) for b, s, n in zip(starts, size, x.shape, strict=True)]
    return x[tuple(slice(b, e) for b, e in zip(starts, ends, strict=True))]


def gather(
    *,
    x: Array,
    indices: Array,
    axis: Array | int = 0,
    batch_dims: Array | int = 0,
    validate_indices: Array | bool = False,
) -> Array:
    """Take positions along an axis, for each of the first ``batch_dims`` axes on its own."""
    places, batch = np.asarray(indices, np.int64), int(batch_dims)
    along = int(axis) % x.ndim
    if batch == 0:
        return np.take(x, places, axis=along)
    lead = x.shape[:batch]
    rows = zip(x.reshape(-1, *x.shape[batch:]), places.reshape(-1, *places.shape[batch:]), strict=True)
    taken = np.stack([np.take(row, at, axis=along - batch) for row, at in rows])
    return taken.reshape(*lead, *taken.shape[1:])


def gather_along_axis(
    *, x: Array, indices: Array, axis: Array | int = 0, validate_indices: Array | bool = False
) -> Array:
    """For every place of the result its own position along the axis (``np.take_along_axis``)."""
    places = np.asarray(indices, np.int64)
    return np.take_along_axis(x, places, axis=int(axis))


def gather_nd(
    *, x: Array, indices: Array, batch_dims: Array | int = 0, validate_indices: Array | bool = False
) -> Array:
    """Take ``x[indices[..., 0], indices[..., 1], ...]``."""
    places = np.asarray(indices, np.int64)
    batch = int(batch_dims)
    grid = np.indices(places.shape[:-1], sparse=True)[:batch]
    return x[(*grid, *np.moveaxis(places, -1, 0))]


_UPDATES: dict[str, Callable[[Array, Any, Array], None]] = {
    "add": np.add.at,
    "sub": np.subtract.at,
    "mul": np.multiply.at,
    "div": np.divide.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _updated(data: Array, places: Any, updates: Array, mode: str) -> Array:
    y = data.copy()
    if mode == "update":
        y[places] = updates
    elif mode in _UPDATES:
        _UPDATES[mode](y, places, updates)
    else:
        raise ValueError(f"scatter mode {mode!r}; known: update, {', '.join(_UPDATES)}")
    return y


def scatter(
    *,
    data: Array,
    indices: Array,
    updates: Array,
    axis: Array | int = 0,
    mode: str = "add",
    validate_indices: Array | bool = False,
) -> Array:
    """Put ``updates`` at positions along an axis."""
    place = (slice(None),) * (int(axis) % data.ndim)
    return _updated(data, (*place, np.asarray(indices, np.int64)), updates, mode)


def scatter_along_axis(
    *,
    data: Array,
    indices: Array,
    updates: Array,
    axis: Array | int = 0,
    mode: str = "add",
    validate_indices: Array | bool = False,
) -> Array:
    """Put each update at its own position along an axis."""
    grid: list[Array] = list(np.indices(indices.shape, sparse=True))
    grid[int(axis)] = np.asarray(indices, np.int64)
    return _updated(data, tuple(grid), updates, mode)


def scatter_nd(
    *, data: Array, indices: Array, updates: Array, mode: str = "add", validate_indices: Array | bool = False
) -> Array:
    """Put updates at ``data[indices[..., 0], indices[..., 1], ...]``."""
    return _updated(data, tuple(np.moveaxis(np.asarray(indices, np.int64), -1, 0)), updates, mode)


def shape(*, x: Array) -> Array:
    """The shape."""
    return np.array(x.shape, np.int32)


def fill(*, shape: Array, value: Array | float = 0.0) -> Array:
    """A tensor of one value."""
    return np.full(_room([int(n) for n in shape]), value)


def fill_like(*, ref_tensor: Array, value: Array | float = 0.0) -> Array:
    """A tensor of one value, shaped like another."""
    return np.full(ref_tensor.shape, value)


def range_1d(*, start: Array, end: Array, step: Array) -> Array:
    """Values from ``start`` to before ``end``."""
    if float(step) == 0:
        raise ValueError("range_1d with step 0")
    _room([max(math.ceil((float(end) - float(start)) / float(step)), 0)])
    return np.arange(np.asarray(start).item(), np.asarray(end).item(), np.asarray(step).item())


def one_hot(
    *,
    indices: Array,
    one_hot_vector_size: Array,
    axis: Array | int = -1,
    on_value: Array | float = 1,
    off_value: Array | float = 0,
) -> Array:
    """``on_value`` at the index along a new axis, ``off_value`` elsewhere."""
    size = _room([int(one_hot_vector_size)])[0]
    _room([indices.size, size])
    hot = np.expand_dims(indices, int(axis)) == np.arange(size).reshape(
        [-1 if a == int(axis) % (indices.ndim + 1) else 1 for a in range(indices.ndim + 1)]
    )
    return np.where(hot, np.asarray(on_value), np.asarray(off_value))


def band_part(*, x: Array, lower: Array | int = -1, upper: Array | int = -1) -> Array:
    """Keep a band around the diagonal of the last two axes; -1 keeps that whole triangle."""
    rows, columns = np.ogrid[: x.shape[-2], : x.shape[-1]]
    below = (int(lower) < 0) | (rows - columns <= int(lower))
    above = (int(upper) < 0) | (columns - rows <= int(upper))
    return np.where(below & above, x, np.zeros((), x.dtype))


def cumsum(*, x: Array, axis: Array | int = 0, exclusive: Array | bool = False, reverse: Array | bool = False) -> Array:
    """Running sum; ``exclusive`` leaves out the value itself."""
    turned = np.flip(x, int(axis)) if bool(reverse) else x
    summed = np.cumsum(turned, axis=int(axis), dtype=x.dtype)
    summed = summed - turned if bool(exclusive) else summed
    return np.flip(summed, int(axis)) if bool(reverse) else summed


def argsort(*, x: Array, axis: Array | int = -1, ascending: Array | bool = False) -> Array:
    """Positions in sorted order; equal values keep theirs."""
    return np.argsort(x if bool(ascending) else -x, axis=int(axis), kind="stable")


def topk(
    *,
    x: Array,
    k: Array | int = 1,
    axis: Array | int = -1,
    ascending: Array | bool = False,
    sort: Array | bool = True,
    return_indices: Array | bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Array, ...]:
    """The ``k`` largest (``ascending``: smallest) values, sorted, and their positions."""
    places = argsort(x=x, axis=axis, ascending=ascending)
    kept = np.take(places, np.arange(int(k)), axis=int(axis))
    values = np.take_along_axis(x, kept, axis=int(axis))
    return (values, kept) if bool(return_indices) else (values,)


def depth_to_space(*, x: Array, block_size: Array) -> Array:
    """``(n, c, h, w) -> (n, c / b^2, h b, w b)``; the block's position is the slower part of the channel."""
    b, (n, c, h, w) = int(block_size), x.shape
    return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(*, x: Array, block_size: Array) -> Array:
    """Undo ``depth_to_space``."""
    b, (n, c, h, w) = int(block_size), x.shape
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


def pixel_shuffle(*, x: Array, upscale_factor: Array) -> Array:
    """``depth_to_space`` with the block's position as the faster part of the channel (PyTorch's)."""
    b, (n, c, h, w) = int(upscale_factor), x.shape
    return x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)


def pixel_unshuffle(*, x: Array, downscale_factor: Array) -> Array:
    """Undo ``pixel_shuffle``."""
    b, (n, c, h, w) = int(downscale_factor), x.shape
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 1, 3, 5, 2, 4).reshape(n, c * b**2, h // b, w // b)


def _reduction(function: Callable[..., Array]) -> Callable[..., Array]:
    def operator(*, x: Array, axes: Array | None = None, keep_dims: Array | bool = False) -> Array:
        over = None if axes is None else tuple(int(a) for a in np.ravel(axes))
        return np.asarray(function(x, axis=over, keepdims=bool(keep_dims)))

    return operator


def _position(function: Callable[..., Array]) -> Callable[..., Array]:
    def operator(
        *, x: Array, axis: Array | int = -1, keep_dims: Array | bool = False, output_dtype: str = "int32"
    ) -> Array:
        return np.asarray(function(x, axis=int(axis), keepdims=bool(keep_dims)))

    return operator


#: Reductions over ``axes`` (all where there are none), and positions of extremes along ``axis``.
TABLE: dict[str, Callable[..., Array]] = {
    "reduce_mean": _reduction(np.mean),
    "reduce_sum": _reduction(np.sum),
    "reduce_max": _reduction(np.max),
    "reduce_min": _reduction(np.min),
    "reduce_prod": _reduction(np.prod),
    "reduce_l1_norm": _reduction(lambda x, **over: np.sum(np.abs(x), **over)),
    "reduce_l2_norm": _reduction(lambda x, **over: np.sqrt(np.sum(np.square(x), **over))),
    "reduce_sum_square": _reduction(lambda x, **over: np.sum(np.square(x), **over)),
    "reduce_log_sum": _reduction(lambda x, **over: np.log(np.sum(x, **over))),
    "reduce_log_sum_exp": _reduction(special.logsumexp),
    "reduce_argmax": _position(np.argmax),
    "reduce_argmin": _position(np.argmin),
}


def _room(sizes: list[int]) -> list[int]:
    """Refuse sizes that only a damaged file has."""
    if any(n < 0 for n in sizes) or math.prod(sizes) > 2**28:
        raise ValueError(f"a tensor of {sizes} elements")
    return sizes
