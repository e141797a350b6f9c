"""Indices that belong together: what is taken out of one tensor is taken out of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: A label for each index of an axis.
    Axis = NDArray[np.int64]


@dataclass(frozen=True)
class Why:
    """Why an index stays.

    Attributes:
        text: the reason.
        refused: whether it could go, if only the operator could be followed.
    """

    text: str
    refused: bool = False


class Labels:
    """A union-find over labels; one that is pinned stays, and with it all that belong to it.

    Label 0 is that of batches and positions, which always stay.
    """

    def __init__(self) -> None:
        self._parent = [0]
        self._pinned = {0: Why("a position")}
        self._summed: set[int] = set()

    def new(self, count: int) -> Axis:
        """Labels that belong to nothing yet."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, label: int) -> int:
        """The one label that stands for all that belong together."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def roots(self, axis: Axis) -> Axis:
        """Of each label."""
        return np.array([self.root(label) for label in axis.tolist()], dtype=np.int64)

    def join(self, one: Axis, other: Axis) -> None:
        """Have the labels of two axes belong together, index by index."""
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = self.root(a), self.root(b)
            if a == b:
                continue
            a, b = min(a, b), max(a, b)
            self._parent[b] = a
            if (why := self._pinned.pop(b, None)) is not None:
                self._pin(a, why)
            if b in self._summed:
                self._summed.add(a)

    def pin(self, axis: Axis, why: Why) -> None:
        """Have labels stay."""
        for label in axis.tolist():
            self._pin(self.root(label), why)

    def _pin(self, root: int, why: Why) -> None:
        # What has to stay for a good reason is not held against an operator as well.
        known = self._pinned.get(root)
        if known is None or (known.refused and not why.refused):
            self._pinned[root] = why

    def pinned(self, label: int) -> Why | None:
        """Why a label stays; None where it may go."""
        return self._pinned.get(self.root(label))

    def free(self, axis: Axis) -> bool:
        """Whether any index of an axis may go."""
        return any(self.pinned(label) is None for label in axis.tolist())

    def sum(self, axis: Axis) -> None:
        """Remember that values with these channels are added: they are a residual stream."""
        self._summed.update(self.roots(axis).tolist())

    def unsum(self, axis: Axis) -> None:
        """Forget it: a cell adds what it was given and what it remembers, which is no stream."""
        self._summed.difference_update(self.roots(axis).tolist())

    def summed(self, label: int) -> bool:
        """Whether a label is of a residual stream."""
        return self.root(label) in self._summed
