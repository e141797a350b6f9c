"""Integer files in the form that XNNPACK takes; what it leaves is computed by built-in kernels, which are slow.

What it takes was found by running single operators with other scales and zero points (LiteRT 2.3): no
SQUARED_DIFFERENCE or HARD_SWISH of integers; of a BATCH_MATMUL a second factor without a zero point; of an ADD or SUB
scales from 2^-10 to 2^8 of the result's. The built-in ADD and SUB of 8 bits are wrong beyond that: a sum that is more
than 32767 steps of its result away from zero comes out on the other side.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.schema import add_buffer, operator_code, packed, packed_model, unpacked

if TYPE_CHECKING:
    from edgekit.toolchains.litert.passes.ranges import Ranges

#: Operators whose results have the scale of what they are of: which of their inputs that is.
_SAME_SCALE = {"RESHAPE": 0, "TRANSPOSE": 0, "SLICE": 0, "STRIDED_SLICE": 0, "UNPACK": 0, "SPLIT": 1, "BROADCAST_TO": 0}
#: By how much a range may grow to lie evenly about zero: 2 dB of its tensor's own noise.
WIDEST = 1.25
#: Of the scale of a result, the finest that a summand is stored with: twice the finest that is taken.
FINEST = 2.0**-9
#: Of the scale of a result, the coarsest that is taken of a summand; of 16 bits, half of what ends the process.
_STEEPEST = {"int8": 2.0**8, "int16": 2.0**13}
#: Of a result's steps from zero, the last that the built-in kernel knows.
_LAST_STEP = 2**15 - 1
#: What the sum inside of a HARD_SWISH is called behind its result's name.
_MOVED = "moved"


def take_apart(content: bytes, bits: int, whole: Container[str] = ()) -> bytes:
    """Write HARD_SWISH, and in 8 bits the squared differences of norms, as sums and products.

    Their built-in kernels of integers were two thirds of MobileNet V3's time, and a third of a small text encoder's. In
    16 bits there is none for HARD_SWISH. A difference from anything but a mean may lie at the far end of its range,
    where rounding it to 8 bits shows in the square: (x - 30)^2 had 52 dB instead of 58.

    Args:
        content: a float file.
        bits: of activations in the file that is made of it.
        whole: names of results whose operators stay as they are (``misfits``).
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    model = unpacked(content)
    if not {kinds.SQUARED_DIFFERENCE, kinds.HARD_SWISH} & {code.builtinCode for code in model.operatorCodes}:
        return content
    for graph in model.subgraphs:
        known, graph.operators = graph.operators, []
        kind = {id(op): model.operatorCodes[op.opcodeIndex].builtinCode for op in known}
        made = {int(index): op for op in known for index in op.outputs}
        for op in known:
            if kind[id(op)] == kinds.HARD_SWISH and graph.tensors[op.outputs[0]].name.decode() not in whole:
                _hard_swish(_Writing(model, graph, op.outputs[0]), op)
            elif kind[id(op)] == kinds.SQUARED_DIFFERENCE and bits == 8 and _from_mean(op, made, kind):
                _difference_squared(_Writing(model, graph, op.outputs[0]), op)
            else:
                graph.operators.append(op)
    return packed(model, len(content))


def _from_mean(op: Any, made: Mapping[int, Any], kind: Mapping[int, int]) -> bool:
    """Whether one of two operands is a mean of the other."""
    from ai_edge_litert import schema_py_generated as schema

    for value, mean in (op.inputs, op.inputs[::-1]):
        by = made.get(int(mean))
        while by is not None and kind[id(by)] == schema.BuiltinOperator.RESHAPE:
            by = made.get(int(by.inputs[0]))
        if by is not None and kind[id(by)] == schema.BuiltinOperator.MEAN and by.inputs[0] == value:
            return True
    return False


def _difference_squared(write: _Writing, op: Any) -> None:
    difference = write.between("difference")
    write.operator("SUB", op.inputs, difference)
    write.operator("MUL", (difference, difference), write.result)


def _hard_swish(write: _Writing, op: Any) -> None:
    """``x * relu6(x + 3) / 6`` (Howard et al., Searching for MobileNetV3, 2019)."""
    moved, gate, x = write.between(_MOVED), write.between("gate"), op.inputs[0]
    write.operator("ADD", (x, write.constant("three", 3.0)), moved, "RELU6")
    write.operator("MUL", (moved, write.constant("sixth", 1 / 6)), gate)
    write.operator("MUL", (x, gate), write.result)


def misfits(content: bytes) -> frozenset[str]:
    """Of a HARD_SWISH that was taken apart, the names of results whose sum has a scale far below that of what it is of.

    The input reaches hundreds, or hardly beyond -3: the sum is slow and may be wrong, or the runtime ends the process.
    """
    found = set()
    for graph in read_subgraphs(packed_model(content, Path("model.tflite"))):
        for op in graph.operators:
            of, moved = op.inputs[0], op.outputs[0] if op.outputs else None
            if op.type == "ADD" and of is not None and moved is not None and moved.name.endswith(f"/{_MOVED}"):
                steepest = _STEEPEST.get(moved.type, math.inf)
                if len(of.scales) == len(moved.scales) == 1 and of.scales[0] >= steepest * moved.scales[0]:
                    found.add(moved.name.removesuffix(f"/{_MOVED}"))
    return frozenset(found)


def wrapped(content: bytes) -> list[str]:
    """Sums of 8 bits that the built-in kernel would compute wrong for some of the values that they can be given."""
    found = []
    for graph in read_subgraphs(packed_model(content, Path("model.tflite"))):
        for op in graph.operators:
            if op.type not in ("ADD", "SUB") or op.outputs[0].type != "int8" or len(op.outputs[0].scales) != 1:
                continue
            steps = op.outputs[0].scales[0]
            summands = [t for t in op.inputs if t is not None and len(t.scales) == 1 and len(t.zero_points) == 1]
            if max((t.scales[0] for t in summands), default=0) >= _STEEPEST["int8"] * steps:
                reach = sum(t.scales[0] * (127.5 + abs(t.zero_points[0] + 0.5)) for t in summands)
                found += [op.name] if reach / steps > _LAST_STEP else []
    return found


@dataclass(frozen=True)
class _Writing:
    """Operators that together give the ``result`` of one, added to those of a graph; tensors are numbers."""

    model: Any
    graph: Any
    result: int

    def between(self, name: str) -> int:
        """A tensor like the result."""
        return self._tensor(copy(self.graph.tensors[self.result]), name)

    def constant(self, name: str, value: float) -> int:
        """A stored number."""
        from ai_edge_litert import schema_py_generated as schema

        tensor = schema.TensorT()
        tensor.shape, tensor.type = [], schema.TensorType.FLOAT32
        tensor.buffer = add_buffer(self.model, np.array(value, np.float32))
        return self._tensor(tensor, name)

    def _tensor(self, tensor: Any, name: str) -> int:
        tensor.name = self.graph.tensors[self.result].name + f"/{name}".encode()
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, kind: str, inputs: Iterable[int], output: int, activation: str = "NONE") -> None:
        """ADD, SUB or MUL."""
        from ai_edge_litert import schema_py_generated as schema

        options = f"{kind.capitalize()}Options"
        op = schema.OperatorT()
        op.opcodeIndex = operator_code(self.model, getattr(schema.BuiltinOperator, kind), 1)
        op.inputs, op.outputs = list(inputs), [output]
        op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        op.builtinOptions = getattr(schema, f"{options}T")()
        op.builtinOptions.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)
        self.graph.operators.append(op)


def center_factors(source: bytearray, file: Path, ranges: dict[str, Ranges]) -> None:
    """Let computed second factors of BATCH_MATMUL have a zero point of 0 where their range is nearly even, in place."""
    for graph in read_subgraphs(packed_model(source, file)):
        made = {tensor.name: op for op in graph.operators for tensor in op.outputs}
        for factor in (op.inputs[1] for op in graph.operators if op.type == "BATCH_MATMUL"):
            tensor = factor
            moved = []
            while tensor is not None and tensor.data is None:
                moved.append(tensor.name)
                by = made.get(tensor.name)
                tensor = by.inputs[_SAME_SCALE[by.type]] if by is not None and by.type in _SAME_SCALE else None
            if not moved or not ranges.keys() >= set(moved):
                continue
            first = ranges[moved[-1]]  # what is moved has the scale of this one
            low, high = (float(first[end].reshape(-1)[0]) for end in ("min", "max"))
            step = max(-low / 128, high / 127)
            if low < 0 < high and 255 * step <= WIDEST * (high - low):
                even = {"min": -128 * step, "max": 127 * step}
                for name in moved:
                    ranges[name] = {end: np.full_like(ranges[name][end], value) for end, value in even.items()}


def coarsen_summands(content: bytes) -> bytes:
    """Store constants that are tiny beside what they are added to in coarser steps: an epsilon, or zero itself.

    What is lost is less than a hundredth of a step of the result.
    """
    from ai_edge_litert import schema_py_generated as schema

    kinds = schema.BuiltinOperator
    model = unpacked(content)
    changed = False
    for graph in model.subgraphs:
        for op in graph.operators:
            if model.operatorCodes[op.opcodeIndex].builtinCode not in (kinds.ADD, kinds.SUB):
                continue
            result = graph.tensors[op.outputs[0]]
            if result.type != schema.TensorType.INT8 or not _one_scale(result):
                continue
            finest = float(np.float32(result.quantization.scale[0] * FINEST))
            for place, index in enumerate(op.inputs):
                constant = graph.tensors[index]
                stored = model.buffers[constant.buffer].data
                if stored is None or not len(stored) or not _one_scale(constant):
                    continue
                if constant.quantization.scale[0] >= finest:
                    continue
                coarse = copy(constant)
                coarse.quantization = copy(constant.quantization)
                steps = np.frombuffer(bytes(bytearray(stored)), np.int8).astype(np.float64)
                values = (steps - constant.quantization.zeroPoint[0]) * constant.quantization.scale[0]
                scale = max(finest, float(np.float32(np.abs(values).max() / 127)))
                coarse.quantization.scale, coarse.quantization.zeroPoint = [scale], [0]
                coarse.buffer = add_buffer(model, np.rint(values / scale).astype(np.int8))
                graph.tensors.append(coarse)
                op.inputs = [*op.inputs[:place], len(graph.tensors) - 1, *op.inputs[place + 1 :]]
                changed = True
    return packed(model, len(content)) if changed else content


def _one_scale(tensor: Any) -> bool:
    quantization = tensor.quantization
    return quantization is not None and quantization.scale is not None and len(quantization.scale) == 1
