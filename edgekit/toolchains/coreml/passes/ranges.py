"""Ranges of activations in an ML Program, and the values that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.mil import package
from edgekit.mil.program import read as read_program
from edgekit.scheme import Range
from edgekit.toolchains._shared.calibration import Kept
from edgekit.toolchains.coreml.passes.activations import observed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.toolchains import Rows


def read(file: Path) -> tuple[Range, ...]:
    """The ranges of activations, by the names of what ``quantize`` takes.

    coremltools divides what a sum adds by one of its steps, and the steps behind the sum with it
    (``distributive_quantized_binary_op_scale_normalization``): ranges are in the units that the values had before.
    """
    program = read_program(package.read(file))
    unrounded: dict[str, list[str]] = {}
    for operation in program.block.operations:
        for name in {name for given in operation.inputs.values() for name in given}:
            made = [result for result, _ in operation.outputs if operation.type != "quantize"]
            unrounded.setdefault(name, []).extend(made)
    steps, units, found = dict[str, float](), dict[str, float](), dict[str, Range]()
    for operation in program.block.all_operations():
        names = [name for given in operation.inputs.values() for name in given if name not in program.constants]
        unit = next((units[name] for name in names if name in units), 1.0)
        if operation.type not in ("quantize", "dequantize"):
            made = [name for name, _ in operation.outputs]
            units |= dict.fromkeys(made, unit)
            for step in (steps[name] for name in names if name in steps):  # of a pool of integers, for one
                steps |= dict.fromkeys(made, step)
            continue
        [name], [(result, _)] = operation.inputs["input"], operation.outputs
        scale = np.asarray(program.constants[operation.inputs["scale"][0]])
        if operation.type == "dequantize":
            if name in steps and scale.size == 1:
                units[result] = steps[name] / float(scale.reshape(()))
            continue
        zero = [np.asarray(program.constants[one]) for one in operation.inputs.get("zero_point", ())]
        # coremltools writes a zero point of -128 as uint8 without one.
        shift = 128 if program.types[result].element.name == "uint8" else 0
        if scale.size == 1:
            point = int(zero[0].reshape(())) if zero else 0
            steps[result] = float(scale.reshape(())) * unit
            one = Range.of_steps(name, steps[result], point - shift)
            found[name] = replace(one, unrounded=tuple(unrounded[name]))
    return tuple(found.values())


def values(file: Path, names: Iterable[str], samples: Mapping[str, Rows]) -> dict[str, list[NDArray[Any]]]:
    """What tensors of a float file are on each of some samples; those that the file does not have are left out."""
    opened = package.read(file)
    program = read_program(opened)
    program.refuse_unknown()
    files = {original: name for name, original in opened.names.items()}
    made = {name for operation in program.block.operations for name, _ in operation.outputs} | set(program.inputs)
    seen = {name: Kept() for name in names if name in made and name not in program.constants}
    observed(program, {files.get(name, name): rows for name, rows in samples.items()}, seen)
    return {name: one.values for name, one in seen.items()}
