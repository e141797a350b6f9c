"""Static quantization of activations: ranges from the evaluator, ``quantize`` and ``dequantize`` put into the file.

coremltools' ``linear_quantize_activations`` needs macOS to find its ranges; it keeps those of the last sample only
(``_update_tensor_range`` overwrites before it compares), and on float32 programs it raises (float16 scales).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import FailedError, UnsupportedError
from edgekit.mil import proto
from edgekit.mil.program import OPSETS, Operation, Program
from edgekit.ranges.observers import Observer
from edgekit.scheme import Range
from edgekit.toolchains import Rows
from edgekit.toolchains._shared import rules
from edgekit.toolchains._shared.calibration import one_by_one

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operator -> parameters that are quantized.
Taken = Mapping[str, tuple[str, ...]]
#: What carries weights.
PRODUCTS: Taken = {"conv": ("x",), "conv_transpose": ("x",), "linear": ("x",)}
#: All that Core ML computes in int8: coremltools' list, and the transposed convolution.
ALL: Taken = {**PRODUCTS, "avg_pool": ("x",), "max_pool": ("x",), "add": ("x", "y")}
#: Recurrent layers of a Core ML program take float activations only.
_CELLS = frozenset(("lstm", "gru", "rnn"))
_OPSET = 7
_LEVELS = 255


def quantize_activations(
    spec: Any,
    program: Program,
    samples: Mapping[str, Rows],
    taken: Taken,
    observe: Callable[[Iterable[str]], Mapping[str, Observer]],
    *,
    left: Collection[str] = (),
    given: Mapping[str, Range] = MappingProxyType({}),
) -> None:
    """Quantize to int8 what operators take, in place; one scale per tensor.

    Args:
        spec: the model's protobuf.
        program: the same, read.
        samples: calibration samples by the file's input names.
        taken: which operators.
        observe: makes an observer for each of the tensors.
        left: names of those that are not, all the same.
        given: ranges that do not come from the samples, by tensor.

    Raises:
        UnsupportedError: recurrent layers, or a deployment target without these operators.
        FailedError: a tensor is not finite on the samples.
    """
    cells = sorted({o.type for o in program.block.all_operations()} & _CELLS)
    if cells:
        raise UnsupportedError(
            f"Core ML has no {' or '.join(cells)} with int8 activations", hint="Use the target coreml-int8-weights."
        )
    if program.opset < _OPSET:
        raise UnsupportedError(
            f"int8 activations need {OPSETS[_OPSET]}; the file is for {OPSETS[program.opset]}",
            hint="Raise minimum_deployment_target in the target's TOML.",
        )
    chosen = {
        o.outputs[0][0]: set(_variable_inputs(program, o, taken))
        for o in program.block.operations
        if o.type in taken and o.name not in left
    }
    ranges = _shared(program, observed(program, samples, observe(sorted(set().union(*chosen.values())))))
    for name, one in given.items():
        if name not in ranges:
            rules.without_own(one.tensor, ranges)
    parameters = {name: scale_and_zero_point(*limits) for name, limits in ranges.items()}
    parameters |= {name: (one.scale, one.zero_point) for name, one in given.items()}
    function = next(f for f in spec.mlProgram.functions.values() if f.opset in f.block_specializations)
    _insert(function.block_specializations[function.opset], program, parameters, chosen, taken)


def _variable_inputs(program: Program, operation: Operation, taken: Taken) -> Iterator[str]:
    """Names of float tensors that an operator is to take quantized; a sum with a constant stays as it is."""
    names = [name for key in taken[operation.type] for name in operation.inputs[key]]
    if any(name in program.constants for name in names):
        return
    yield from (name for name in names if program.types[name].element.name.startswith("float"))


def observed(
    program: Program, samples: Mapping[str, Rows], observers: Mapping[str, Observer]
) -> dict[str, tuple[float, float]]:
    """Ranges of tensors, each as its observer finds it over all samples."""
    for i, sample in enumerate(one_by_one(samples)):
        values = program.values({name: _narrowed(array) for name, array in sample.items()})
        for name, observer in observers.items():
            if not np.isfinite(values[name]).all():
                raise FailedError(f"the tensor {name!r} is not finite on calibration sample {i}")
            observer.update(values[name])
    return {name: observer.range() for name, observer in observers.items()}


def _narrowed(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Core ML's integers have 32 bits."""
    return array.astype(np.int32) if array.dtype.kind in "iu" else array


def _shared(program: Program, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Give what a ``concat`` joins, and its result, one range, so that it needs no rescaling."""
    for operation in program.block.operations:
        if operation.type == "concat":
            names = [n for n in (*operation.inputs["values"], operation.outputs[0][0]) if n in ranges]
            joined = [ranges[n] for n in names]
            for name in names:
                ranges[name] = min(low for low, _ in joined), max(high for _, high in joined)
    return ranges


def scale_and_zero_point(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point that spread int8 over ``[low, high]``, which holds 0."""
    scale = (high - low) / _LEVELS
    if scale < np.finfo(np.float32).tiny:
        return 1.0, 0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def _insert(
    block: Any,
    program: Program,
    parameters: Mapping[str, tuple[float, int]],
    chosen: Mapping[str, set[str]],
    taken: Taken,
) -> None:
    """Put one pair behind each tensor, and let the operators that were chosen take it from there.

    ``chosen`` holds by an operator's first output the tensors that it is to take quantized.
    """
    before = list(block.operations)
    del block.operations[:]
    for name in program.inputs:
        if name in parameters:
            block.operations.extend(_pair(name, program, *parameters[name]))
    for operation in before:
        outputs = [value.name for value in operation.outputs]
        for key in taken.get(operation.type, ()):
            for binding in operation.inputs[key].arguments:
                if binding.name in chosen.get(outputs[0], ()):
                    binding.name = f"{binding.name}_dequantized"
        block.operations.append(operation)
        for name in outputs:
            if name in parameters:
                block.operations.extend(_pair(name, program, *parameters[name]))


def _pair(name: str, program: Program, scale: float, zero_point: int) -> list[Any]:
    mil = proto.mil()
    kind = program.types[name]
    half = kind.element.name == "float16"
    float_type = mil.FLOAT16 if half else mil.FLOAT32
    constants = {
        f"{name}_scale": _constant(f"{name}_scale", float_type, np.float16(scale) if half else np.float32(scale)),
        f"{name}_zero_point": _constant(f"{name}_zero_point", mil.INT8, np.int8(zero_point)),
        f"{name}_stored": _constant(f"{name}_stored", mil.STRING, "int8"),
    }
    given = {"scale": f"{name}_scale", "zero_point": f"{name}_zero_point"}
    into = {"input": name, "output_dtype": f"{name}_stored", **given}
    out = {"input": f"{name}_quantized", **given}
    return [
        *constants.values(),
        _operation("quantize", f"{name}_quantized", into, mil.INT8, kind.shape),
        _operation("dequantize", f"{name}_dequantized", out, float_type, kind.shape),
    ]


def _operation(kind: str, name: str, inputs: Mapping[str, str], element: int, shape: tuple[int, ...]) -> Any:
    operation = proto.mil().Operation(type=kind)
    for key, value in inputs.items():
        operation.inputs[key].arguments.add().name = value
    _declare(operation.outputs.add(), name, element, shape)
    _text(operation.attributes["name"], name)
    return operation


def _constant(name: str, element: int, value: Any) -> Any:
    mil = proto.mil()
    operation = mil.Operation(type="const")
    _declare(operation.outputs.add(), name, element, ())
    _text(operation.attributes["name"], name)
    stored = operation.attributes["val"]
    stored.type.tensorType.dataType = element
    tensor = stored.immediateValue.tensor
    if element == mil.STRING:
        tensor.strings.values.append(value)
    elif element == mil.FLOAT32:
        tensor.floats.values.append(float(value))
    else:
        tensor.bytes.values = value.tobytes()
    return operation


def _declare(value: Any, name: str, element: int, shape: tuple[int, ...]) -> None:
    value.name = name
    tensor = value.type.tensorType
    tensor.dataType, tensor.rank = element, len(shape)
    for size in shape:
        tensor.dimensions.add().constant.size = size


def _text(value: Any, text: str) -> None:
    value.type.tensorType.dataType = proto.mil().STRING
    value.immediateValue.tensor.strings.values.append(text)
