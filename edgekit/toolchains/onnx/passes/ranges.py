"""Ranges of activations in a file with Q/DQ pairs, and the values that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.scheme import Range
from edgekit.toolchains._shared.calibration import Kept
from edgekit.toolchains.onnx.passes.observing import observe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.toolchains import Rows


def read(file: Path) -> tuple[Range, ...]:
    """The ranges of activations, by the names of what pairs take; those of one scale and 8 bits."""
    graph = onnx.load(file).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, Range] = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in stored:
            continue
        scale, zero = (numpy_helper.to_array(stored[name]) for name in node.input[1:3])
        if scale.size == 1 and zero.dtype in (np.int8, np.uint8):
            point = int(zero.reshape(-1)[0]) - (128 if zero.dtype == np.uint8 else 0)
            name = pair_of(node.input[0])
            found[name] = Range.of_steps(name, float(scale.reshape(-1)[0]), point)
    return tuple(found.values())


def pair_of(name: str) -> str:
    """The tensor that a pair is for, by the name of what it takes: outputs keep theirs, behind the pair."""
    return name.removesuffix("_QuantizeLinear_Input")


def values(file: Path, names: Iterable[str], samples: Mapping[str, Rows]) -> dict[str, list[NDArray[Any]]]:
    """What tensors of a float file are on each of some samples; those that the file does not have are left out."""
    model = onnx.load(file)
    there = {name for node in model.graph.node for name in node.output} | {v.name for v in model.graph.input}
    seen = {name: Kept() for name in names if name in there}
    observe(model, seen, samples)
    return {name: one.values for name, one in seen.items()}
