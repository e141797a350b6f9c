"""Rules for what puts axes elsewhere: joins, parts, reshapes; pools and padding, which change positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import fx

from edgekit.compress.channels.labels import Why
from edgekit.compress.channels.values import Value, args, dim, full, zeros
from edgekit.compress.graph import operator, shape

if TYPE_CHECKING:
    from edgekit.compress.channels.labels import Axis
    from edgekit.compress.channels.walk import Walk

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


def positions(walk: Walk, node: fx.Node) -> Any:
    """Pools, padding and resizing: an axis whose length changes is one of positions."""
    value = walk.value(args(node)[0])
    found = node.meta["val"]
    size = (found[0] if isinstance(found, list | tuple) else found).shape
    axes = []
    for axis, length in zip(value.axes, size, strict=True):
        if len(axis) != length:
            walk.labels.pin(axis, Why(f"it is padded or resized by {walk.here(node)}", refused=True))
        axes.append(axis if len(axis) == length else zeros(length))
    result = Value(tuple(axes), value.computed)
    return (result,) * len(found) if isinstance(found, list | tuple) else result


def cat(walk: Walk, node: fx.Node) -> Any:
    """Values behind each other along an axis."""
    given = [walk.value(argument) for argument in args(node)[0]]
    given = [v for v in given if sum(map(len, v.axes))]
    count = len(shape(node))
    along = int(dim(node, 1, 0)) % count
    axes = []
    for axis in range(count):
        every = [v.axes[axis] for v in given]
        for other in every[1:] if axis != along else ():
            walk.labels.join(every[0], other)
        axes.append(np.concatenate(every) if axis == along else every[0])
    return Value(tuple(axes), any(v.computed for v in given))


def stack(walk: Walk, node: fx.Node) -> Any:
    """Values along a new axis."""
    given = [walk.value(argument) for argument in args(node)[0]]
    along = int(dim(node, 1, 0)) % len(shape(node))
    for other in given[1:]:
        for one, two in zip(given[0].axes, other.axes, strict=True):
            walk.labels.join(one, two)
    axes = list(given[0].axes)
    axes.insert(along, zeros(len(given)))
    return Value(tuple(axes), any(v.computed for v in given))


def split(walk: Walk, node: fx.Node) -> Any:
    """Parts of an axis; where they are alike they shrink alike: code that cuts in equal parts would cut elsewhere."""
    value, name = walk.value(args(node)[0]), operator(node)
    if name == "glu":
        along = dim(node, 1, -1)
    elif name == "unbind":
        along = dim(node, 1, 0)
    else:
        along = dim(node, 2, 0)
    along = int(along) % len(value.axes)
    axis, rest = value.axes[along], list(value.axes)
    if name == "unbind":
        if walk.labels.free(axis):
            walk.labels.pin(axis, Why(f"is taken apart by {walk.here(node)}", refused=True))
        del rest[along]
        return (Value(tuple(rest), value.computed),) * len(axis)
    found = node.meta["val"]
    sizes = [len(axis) // 2] * 2 if name == "glu" else [int(part.shape[along]) for part in found]
    parts = np.split(axis, np.cumsum(sizes)[:-1])
    if len(set(sizes)) == 1:
        for part in parts[1:]:
            walk.labels.join(parts[0], part)
    results = [Value((*rest[:along], part, *rest[along + 1 :]), value.computed) for part in parts]
    return results[0] if name == "glu" else tuple(results)


def sliced(walk: Walk, node: fx.Node) -> Any:
    """A run of the indices of an axis."""
    value = walk.value(args(node)[0])
    along, start, end, step = full(node, ("", "dim", "start", "end", "step"), (None, 0, None, None, 1))[1:]
    along = along % len(value.axes)
    taken = value.axes[along][slice(start, end, step)]
    if len(taken) < len(value.axes[along]):
        _cut(walk, node, value.axes[along])
    return Value((*value.axes[:along], taken, *value.axes[along + 1 :]), value.computed)


def select(walk: Walk, node: fx.Node) -> Any:
    """One index of an axis."""
    value, along = walk.value(args(node)[0]), args(node)[1]
    axes = list(value.axes)
    _cut(walk, node, axes.pop(along))
    return Value(tuple(axes), value.computed)


def _cut(walk: Walk, node: fx.Node, axis: Axis) -> None:
    """Some indices of an axis are taken by their numbers, which would be others."""
    if walk.labels.free(axis):
        walk.labels.pin(axis, Why(f"are taken by their numbers by {walk.here(node)}", refused=True))


def flip(walk: Walk, node: fx.Node) -> Any:
    """Axes the other way round."""
    value = walk.value(args(node)[0])
    turned = {axis % len(value.axes) for axis in args(node)[1]}
    return Value(tuple(a[::-1] if i in turned else a for i, a in enumerate(value.axes)), value.computed)


def permute(walk: Walk, node: fx.Node) -> Any:
    """Axes in another order."""
    value, name = walk.value(args(node)[0]), operator(node)
    order = list(range(len(value.axes)))
    if name == "permute":
        order = [int(axis) % len(order) for axis in args(node)[1]]
    elif len(order) > 1:
        one, other = (0, 1) if name == "t" else (int(axis) for axis in args(node)[1:3])
        order[one], order[other] = order[other], order[one]
    return Value(tuple(value.axes[axis] for axis in order), value.computed)


def reshape(walk: Walk, node: fx.Node) -> Any:
    """Axes that are laid out anew: one may become one, or be repeated for the positions that are put into it."""
    value, after = walk.value(args(node)[0]), shape(node)
    axes: list[Axis] = [zeros(n) for n in after]
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
    return Value(tuple(axes), value.computed)


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


def expand(walk: Walk, node: fx.Node) -> Any:
    """An axis of 1 that is read as several, which no channels are."""
    value, size = walk.value(args(node)[0]), shape(node)
    ahead = len(size) - len(value.axes)
    known = [zeros(1)] * ahead + list(value.axes)
    axes = tuple(axis if len(axis) == n else zeros(n) for axis, n in zip(known, size, strict=True))
    return Value(axes, value.computed)


def expand_as(walk: Walk, node: fx.Node) -> Any:
    """The same to the shape of another value, which is as long along axes that are no 1."""
    found, like = expand(walk, node), walk.value(args(node)[1])
    for axis, other in zip(found.axes, like.axes, strict=True):
        if axis.any():
            walk.labels.join(axis, other)
    return found
