"""Ranges of activations in a file with Q/DQ pairs, and the values that they are of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.scheme import Range
from edgekit.toolchains._shared.calibration import Kept
from edgekit.toolchains.onnx.passes import sums
from edgekit.toolchains.onnx.passes.observing import observe
from edgekit.toolchains.onnx.passes.preparing import prepared_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.toolchains import Rows


def read(file: Path) -> tuple[Range, ...]:
    """The ranges of activations, by the names of what pairs take; those of one scale and 8 bits."""
    graph = onnx.load(file).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    unrounded: dict[str, list[str]] = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear":
            for name in set(node.input):
                unrounded.setdefault(name, []).extend(node.output)
    found: dict[str, Range] = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in stored:
            continue
        scale, zero = (numpy_helper.to_array(stored[name]) for name in node.input[1:3])
        if scale.size == 1 and zero.dtype in (np.int8, np.uint8):
            point = int(zero.reshape(-1)[0]) - (128 if zero.dtype == np.uint8 else 0)
            name = pair_of(node.input[0])
            one = Range.of_steps(name, float(scale.reshape(-1)[0]), point)
            found[name] = replace(one, unrounded=tuple(unrounded.get(node.input[0], ())))
    return tuple(found.values())


def pair_of(name: str) -> str:
    """The tensor that a pair is for, by the name of what it takes: outputs keep theirs, behind the pair."""
    return name.removesuffix("_QuantizeLinear_Input")


def values(file: Path, names: Iterable[str], samples: Mapping[str, Rows]) -> dict[str, list[NDArray[Any]]]:
    """What tensors of a float file are on each of some samples; those that the file does not have are left out.

    Those inside of functions are of the file as the quantizer takes it, in which these are taken apart.
    """
    model = onnx.load(file)
    seen, missing = _seen(model, names, samples)
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            sums.as_add(model.graph)
            inside, _ = _seen(onnx.load(prepared_file(model, folder)), missing, samples)
        seen |= inside
    return seen


def _seen(
    model: onnx.ModelProto, names: Iterable[str], samples: Mapping[str, Rows]
) -> tuple[dict[str, list[NDArray[Any]]], list[str]]:
    """What tensors of a model are on each of some samples, and the names of those that it does not have."""
    there = {name for node in model.graph.node for name in node.output} | {v.name for v in model.graph.input}
    asked = list(names)
    seen = {name: Kept() for name in asked if name in there}
    observe(model, seen, samples)
    return {name: one.values for name, one in seen.items()}, [name for name in asked if name not in there]
