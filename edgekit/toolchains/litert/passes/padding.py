"""Padding in integers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.schema import packed_model

if TYPE_CHECKING:
    from edgekit.toolchains.litert.passes.ranges import Ranges


def bound(source: bytearray, file: Path, ranges: dict[str, Ranges]) -> None:
    """Pad with the smallest value seen instead of minus infinity, in place, and correct the padded tensor's range.

    PyTorch's padded max pooling becomes PADV2 with -inf: a scale of infinity, on which the runtime aborts. The result
    is the same, since every window holds at least one value that is not padding.
    """
    for graph in read_subgraphs(packed_model(source, file)):
        for operator in graph.operators:
            if operator.type != "PADV2":
                continue
            padded, value = operator.inputs[0], operator.inputs[2]
            if padded is None or value is None or value.data is None or value.type != "float32":
                continue
            constant = value.data.view("<f4")  # a view into ``source``
            if np.isneginf(constant).all() and padded.name in ranges:
                seen = ranges[padded.name]
                constant[:] = seen["min"].min()
                ranges[operator.outputs[0].name] = dict(seen)
                ranges[value.name] = dict(seen)
