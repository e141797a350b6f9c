"""Masks of attention in integers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgekit.toolchains.litert.graph import Op, Subgraph, Tensor, read_subgraphs
from edgekit.toolchains.litert.schema import packed_model

if TYPE_CHECKING:
    from edgekit.toolchains.litert.passes.ranges import Ranges

#: Operators whose results hold the values of one of their inputs: which.
_MOVES = {"RESHAPE": (0,), "TRANSPOSE": (0,), "BROADCAST_TO": (0,), "SELECT_V2": (1, 2), "SELECT": (1, 2)}


class _Masked(NamedTuple):
    """Scores, what is added to them or put in their place, and what a softmax makes of both."""

    scores: Tensor
    mask: Tensor
    by: Op
    results: tuple[Tensor, ...]
    row: int


def bound(source: bytearray, file: Path, ranges: dict[str, Ranges], bits: int) -> None:
    """Give masked scores the range of those that count, in place: constants of a mask, and ranges.

    A mask of -10000 or minus infinity makes a scale in which all scores are one number. Behind a softmax nothing of an
    integer shows what lies below the smallest score by ``ln(2^(bits + 1) x row)``: a whole row of such values is less
    than half of a step of 1/256, or 1/32768. Lower ones saturate there.
    """
    for graph in read_subgraphs(packed_model(source, file)):
        made = {id(tensor): op for op in graph.operators for tensor in op.outputs}
        bounds: dict[str, tuple[Tensor, float]] = {}
        ways: dict[str, set[int]] = {}
        for found in _masked(graph, made):
            low, high = (float(ranges[found.scores.name][end].reshape(-1)[0]) for end in ("min", "max"))
            margin = math.log(2 ** (bits + 1) * found.row)
            least = low - high - margin
            if not math.isfinite(least) or _least(found.mask, ranges) >= least:
                continue
            for tensor, by in _behind(found.mask, found.by, made):
                bounds[tensor.name] = tensor, min(least, bounds.get(tensor.name, (tensor, 0.0))[1])
                ways.setdefault(tensor.name, set()).add(id(by))
            for tensor in found.results:
                _raise(ranges, tensor.name, low - margin)
        for name, (tensor, least) in bounds.items():
            readers = {id(op) for op in graph.operators if any(t is tensor for t in op.inputs)}
            if tensor.data is None or readers <= ways[name]:
                _raise(ranges, name, least)
            if tensor.data is not None and readers <= ways[name]:
                constant = tensor.data.view("<f4")  # a view into ``source``
                np.maximum(constant, np.float32(least), out=constant)


def _masked(graph: Subgraph, made: Mapping[int, Op]) -> Iterator[_Masked]:
    """What each softmax reads, where a mask is part of it."""
    for op in graph.operators:
        if op.type != "SOFTMAX" or op.inputs[0] is None or op.inputs[0].type != "float32":
            continue
        results = [op.inputs[0]]
        while (by := made.get(id(results[-1]))) and by.type in ("RESHAPE", "TRANSPOSE") and by.inputs[0] is not None:
            results.append(by.inputs[0])
        pairs = {"ADD": (0, 1), "SELECT_V2": (1, 2), "SELECT": (1, 2)}.get(by.type) if by else None
        if by is None or pairs is None:
            continue
        one, other = (by.inputs[i] for i in pairs)
        for scores, mask in ((one, other), (other, one)):
            if scores is not None and mask is not None and scores.data is None:
                yield _Masked(scores, mask, by, tuple(results), op.inputs[0].shape[-1])


def _behind(tensor: Tensor, by: Op, made: Mapping[int, Op]) -> Iterator[tuple[Tensor, Op]]:
    """A mask and what its values are moved from, each with the operator that reads it."""
    yield tensor, by
    mover = made.get(id(tensor))
    for place in _MOVES.get(mover.type, ()) if mover else ():
        assert mover is not None
        source = mover.inputs[place]
        if source is not None and source.type == "float32":
            yield from _behind(source, mover, made)


def _least(tensor: Tensor, ranges: Mapping[str, Ranges]) -> float:
    """The smallest value of a mask whose largest is 0, or near it; of all else, none that is too small."""
    if tensor.data is not None:
        values = tensor.data.view("<f4")
        low, high = float(values.min()), float(values.max())
    elif tensor.name in ranges:
        low, high = (float(ranges[tensor.name][end].reshape(-1)[0]) for end in ("min", "max"))
    else:
        return 0.0
    return low if low < -abs(high) else 0.0


def _raise(ranges: dict[str, Ranges], name: str, least: float) -> None:
    """Let a range begin no lower than this."""
    if name in ranges:
        low = ranges[name]["min"]
        ranges[name] = {**ranges[name], "min": np.maximum(low, np.asarray(least, low.dtype))}
