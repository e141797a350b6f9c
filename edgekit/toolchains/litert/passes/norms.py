"""Norms in integers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.schema import packed_model

if TYPE_CHECKING:
    from edgekit.toolchains.litert.passes.ranges import Ranges


def bound(source: bytearray, file: Path, ranges: dict[str, Ranges], bits: int) -> None:
    """Let reciprocal roots reach as far as the smallest step of what they are of, in place.

    Where a sample has nothing but zeros, as padding has, 1 / sqrt(0 + epsilon) may be a million: a scale in which all
    other reciprocals are zero. What lies below one step is zero in integers, and so is what it multiplies.
    """
    for graph in read_subgraphs(packed_model(source, file)):
        for operator in graph.operators:
            variance, root = operator.inputs[0], operator.outputs[0]
            if operator.type != "RSQRT" or variance is None or not {variance.name, root.name} <= ranges.keys():
                continue
            steps = 2**bits - 1 if bits == 8 else 2 ** (bits - 1) - 1  # int16 has no zero point
            step = float(ranges[variance.name]["max"].max()) / steps
            if step > 0:
                high = ranges[root.name]["max"]
                most = np.minimum(high, np.asarray(1 / math.sqrt(step), high.dtype))
                ranges[root.name] = {**ranges[root.name], "max": most}
