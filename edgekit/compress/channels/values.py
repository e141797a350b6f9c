"""Tensors on their way through a graph, as rules make one of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import fx

from edgekit.compress.channels.labels import Why

if TYPE_CHECKING:
    from edgekit.compress.channels.labels import Axis
    from edgekit.compress.channels.walk import Walk

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


@dataclass(frozen=True)
class Value:
    """A tensor on its way through the graph.

    Attributes:
        axes: labels of each of its axes.
        computed: whether it depends on the model's inputs.
    """

    axes: tuple[Axis, ...]
    computed: bool


def args(node: fx.Node) -> tuple[Any, ...]:
    """Arguments by place."""
    return tuple(node.args)


def dim(node: fx.Node, place: int, otherwise: Any) -> Any:
    """The axis, or axes, along which it works."""
    return node.kwargs.get("dim", node.args[place] if len(node.args) > place else otherwise)


def zeros(count: int) -> Axis:
    """Labels of positions."""
    return np.zeros(count, np.int64)


def full(node: fx.Node, names: Sequence[str], defaults: Sequence[Any]) -> list[Any]:
    """Arguments by place or by name."""
    given: list[Any] = [*args(node), *defaults[len(args(node)) :]]
    return [node.kwargs.get(name, value) for name, value in zip(names, given, strict=False)]


def still(walk: Walk, node: fx.Node) -> Any:
    """The result with all axes pinned; of several results several."""
    computed = any(value.computed for value in walk.arguments(node))
    found = node.meta.get("val")

    def one(of: Any) -> Any:
        return Value(tuple(zeros(int(n)) for n in of.shape), computed) if hasattr(of, "shape") else None

    return tuple(map(one, found)) if isinstance(found, list | tuple) else one(found)


def refused(walk: Walk, node: fx.Node, given: Iterable[Value], what: str = "cannot be followed through") -> Any:
    """An operator that cannot be followed; returns what it gives, pinned."""
    why = Why(f"{what} {walk.here(node)}", refused=True)
    for value in given:
        walk.stay(value, why)
    return still(walk, node)


def unknown(walk: Walk, node: fx.Node) -> Any:
    """An operator that is not followed: what it reads stays as it is."""
    return refused(walk, node, walk.arguments(node))
