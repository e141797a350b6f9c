"""What Core ML's runtime refuses although coremltools writes it, as static checks of a program.

The evaluator that stands in for Core ML computes these programs all the same, so that its answer alone would be a
proof of nothing. Every rule names its source; all were read on 2026-11-28, for coremltools 9.0 and ML Programs of
iOS 15 to iOS 26.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from edgekit.errors import UnsupportedError
from edgekit.mil.program import Operation, Program

#: "Core ML does not support tensors with a rank greater than five" (apple/coremltools#1723, #2291; coremltools'
#: builder checks what it makes, not what its later passes leave).
MOST_DIMENSIONS = 5


def findings(program: Program) -> list[str]:
    """Say what Core ML would refuse, one sentence each, naming operator and value; empty where nothing is."""
    return [
        *_interface(program),
        *(reason for o in program.block.all_operations() for reason in _operation(program, o)),
    ]


def refuse(program: Program) -> None:
    """Raise ``UnsupportedError`` with everything in the program that Core ML's runtime does not take."""
    if wrong := findings(program):
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise UnsupportedError(
            f"Core ML does not take this model: {'; '.join(wrong[:3])}{more}",
            hint="Write that part of the model in another way, or take a target of another format.",
        )


def _interface(program: Program) -> Iterator[str]:
    """A program without inputs does not load (pytorch/executorch#11719)."""
    if not program.inputs:
        yield "the model has no inputs"


def _operation(program: Program, operation: Operation) -> Iterator[str]:
    where = f"{operation.type} {operation.outputs[0][0] if operation.outputs else operation.name!r}"
    for name, kind in operation.outputs:
        if kind is not None and len(kind.shape) > MOST_DIMENSIONS:
            yield f"{where}: {name!r} has {len(kind.shape)} dimensions, at most {MOST_DIMENSIONS} are supported"
    rule = _RULES.get(operation.type)
    if rule is not None and (reason := rule(program, operation)):
        yield f"{where}: {reason}"


def _pad(program: Program, operation: Operation) -> str:
    """Only ``constant`` reaches beyond the last two dimensions (apple/coremltools#2576; enumerated in #2701)."""
    mode, amounts = _constant(program, operation, "mode"), _constant(program, operation, "pad")
    if mode is None or str(mode) == "constant" or amounts is None:
        return ""
    rank = len(program.types[operation.inputs["x"][0]].shape)
    pairs = np.asarray(amounts).reshape(-1, 2)
    axes = [rank - len(pairs) + index for index, pair in enumerate(pairs) if pair.any()]
    if all(axis >= rank - 2 for axis in axes):
        return ""
    return f"mode {str(mode)!r} pads the last two dimensions only, this one pads {', '.join(map(str, axes))} of {rank}"


def _matmul(program: Program, operation: Operation) -> str:
    """A vector gives wrong results (apple/coremltools#2263), int32 weights do not load (pytorch/executorch#11691)."""
    factors = [operation.inputs[key][0] for key in ("x", "y") if key in operation.inputs]
    kinds = [program.types[name] for name in factors if name in program.types]
    if any(len(kind.shape) < 2 for kind in kinds):
        return "an operand of one dimension gives wrong results"
    integer = any(kind.element.name.startswith(("int", "uint")) for kind in kinds)
    return "integer matrices with constant weights do not load" if integer and _fixed(program, factors) else ""


def _linear(program: Program, operation: Operation) -> str:
    kind = program.types.get(operation.inputs["x"][0])
    return "integer inputs do not load" if kind and kind.element.name.startswith(("int", "uint")) else ""


def _prelu(program: Program, operation: Operation) -> str:
    """Coremltools' definition of ``prelu``: rank 3 or 5 with one slope only."""
    slopes = _constant(program, operation, "alpha")
    rank = len(program.types[operation.inputs["x"][0]].shape)
    if rank not in (3, 4, 5):
        return f"an input of {rank} dimensions is not supported, 3 to 5 are"
    several = slopes is not None and len(np.unique(np.asarray(slopes))) > 1
    return f"{rank} dimensions are supported with one slope only" if rank != 4 and several else ""


_RULES: Mapping[str, Callable[[Program, Operation], str]] = {
    "pad": _pad,
    "matmul": _matmul,
    "linear": _linear,
    "prelu": _prelu,
}


def _constant(program: Program, operation: Operation, key: str) -> object | None:
    names = operation.inputs.get(key)
    return program.constants.get(names[0]) if names else None


def _fixed(program: Program, names: list[str]) -> bool:
    return any(name in program.constants for name in names)
