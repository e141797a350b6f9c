"""Which weights go: the smallest, said once for both frameworks.

Magnitude as what a weight is worth: Han, Pool, Tran & Dally, *Learning both Weights and Connections for Efficient
Neural Networks*, NeurIPS 2015. Groups of ``N:M`` lie along the input channels, one position of a kernel at a time, as
kernels for them store it: Mishra et al., *Accelerating Sparse Deep Neural Networks*, arXiv 2104.08378, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.compress.prune.patterns import Pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.floating]


def share_at(step: int, steps: int, final: float) -> float:
    """The share of weights that are gone before a step: cubic, so that most go while many are left.

    Equation 1 of Zhu & Gupta, *To prune, or not to prune: exploring the efficacy of pruning for model compression*,
    arXiv 1710.01878, from none at step 0 to ``final`` at step ``steps``, and from there on.
    """
    left = max(0.0, 1.0 - step / steps) if steps else 0.0
    return final * (1.0 - left**3)


def fits(pattern: Pattern, channels: int) -> bool:
    """Whether the groups of a pattern divide the input channels of a layer; weights without groups always fit."""
    return pattern.of != "groups" or channels % pattern.group == 0


def smallest(layers: Sequence[Floats], pattern: Pattern, share: float, *, together: bool) -> list[Bools]:
    """Where weights go; of equals that are as many as it takes, zeros before all others.

    Args:
        layers: of each ``(rows, channels, positions)`` weights.
        pattern: of weights or groups. Of a group as many may go as the pattern leaves out.
        share: of all weights, at most the pattern's own.
        together: whether the smallest of all layers go, or those of each.
    """
    sizes = [np.where(_may_go(weights, pattern), np.abs(weights), np.inf).reshape(-1) for weights in layers]
    if together:
        ends = np.cumsum([size.size for size in sizes])[:-1]
        gone = np.split(_lowest(np.concatenate(sizes), share), ends)
    else:
        gone = [_lowest(size, share) for size in sizes]
    return [where.reshape(weights.shape) for where, weights in zip(gone, layers, strict=True)]


def _lowest(sizes: Floats, share: float) -> Bools:
    """The share of the numbers that are lowest."""
    gone = np.zeros(sizes.size, np.bool_)
    if count := int(share * sizes.size + 1e-9):
        gone[np.argpartition(sizes, count - 1)[:count]] = True
    return gone


def _may_go(weights: Floats, pattern: Pattern) -> Bools:
    """Of each group the smallest, as many as the pattern leaves out; of a pattern without groups all."""
    if pattern.of != "groups":
        return np.ones(weights.shape, np.bool_)
    rows, channels, positions = weights.shape
    grouped = np.abs(weights).reshape(rows, channels // pattern.group, pattern.group, positions)
    order = np.argsort(np.argsort(grouped, axis=2, kind="stable"), axis=2, kind="stable")
    return (order < pattern.group - pattern.stay).reshape(weights.shape)
