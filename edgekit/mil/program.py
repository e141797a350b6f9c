"""ML Programs: reading one from a package, and executing it with NumPy.

float16 is modelled: such values are held as float32 numbers that float16 has, operators compute in float32, and every
result is rounded to float16 (beyond 65504 it becomes infinite). Sums inside one operator are not rounded: Apple does
not publish how its units add, and they differ.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import DamagedFileError, NotRunError, UnsupportedError, UsageError
from edgekit.mil import (
    constexpr,
    ops_elementwise,
    ops_lists,
    ops_nn,
    ops_quantize,
    ops_recurrent,
    ops_tensor,
    package,
    proto,
)
from edgekit.mil.ops_lists import State
from edgekit.mil.values import Constants, TensorType, tensor_type

Array = NDArray[Any]

_AGAIN = "Convert again, or copy the folder again."
#: A loop that has not ended by then is taken for endless.
MOST_ITERATIONS = 100_000
#: Parameters that are lists however many values are given.
_LISTS = frozenset(("values", "loop_vars", "elem_shape"))
_CONTROL = frozenset(("while_loop", "cond"))
#: What a compressed constant is decoded from; its other inputs say how.
_DATA = frozenset(("data", "quantized_data", "indices", "nonzero_data", "indices_nonzero_data", "source_val"))
#: Operator sets by the specification version of their file, with the system that brought them.
OPSETS = {5: "iOS15", 6: "iOS16", 7: "iOS17", 8: "iOS18", 9: "iOS26"}
#: Operators that came after the first operator set.
SINCE = {
    "constexpr_affine_dequantize": 6, "constexpr_cast": 6, "constexpr_lut_to_dense": 6, "constexpr_sparse_to_dense": 6,
    "fill_like": 6, "pixel_unshuffle": 6, "quantize": 7, "dequantize": 7, "constexpr_blockwise_shift_scale": 8,
    "constexpr_sparse_blockwise_shift_scale": 8, "constexpr_lut_to_sparse": 8, "scaled_dot_product_attention": 8,
    "read_state": 8, "write_state": 8, "coreml_update_state": 8, "slice_update": 8,
}  # fmt: skip


def _public(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """A module's own functions by name, and its ``TABLE``."""
    own = {
        name.rstrip("_"): found
        for name, found in vars(module).items()
        if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_")
    }
    return own | getattr(module, "TABLE", {})


OPERATORS: dict[str, Callable[..., Any]] = {
    name: function
    for module in (ops_elementwise, ops_tensor, ops_nn, ops_recurrent, ops_lists, ops_quantize)
    for name, function in _public(module).items()
}
CONSTEXPR = _public(constexpr)


@dataclass(frozen=True)
class Operation:
    """One operator.

    Attributes:
        type: the operator's name in the specification.
        name: of this one, for messages.
        inputs: by parameter: names of values.
        lists: parameters that take several values.
        outputs: names and declared types (None for lists).
        blocks: what control flow runs.
    """

    type: str
    name: str
    inputs: Mapping[str, tuple[str, ...]]
    lists: frozenset[str]
    outputs: tuple[tuple[str, TensorType | None], ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Block:
    """Operators in order; values of the outside are seen inside."""

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def all_operations(self) -> Iterator[Operation]:
        """Operators of this block and of all blocks inside, constants left out."""
        for operation in self.operations:
            yield operation
            for block in operation.blocks:
                yield from block.all_operations()


@dataclass(frozen=True)
class Program:
    """One function of an ML Program.

    Attributes:
        name: the file's, for messages.
        inputs: types of the inputs by name, in order.
        states: types of the states by name.
        outputs: types of the outputs by name, in order.
        block: what runs.
        constants: values by name as the file stores them (compressed ones decoded), float16 as float16.
        compressed: decoded constants by name: the names of what they were decoded from, the data first.
        palettes: those that were looked up in a table: how many bits its indices have.
        types: declared types of all values, constants among them.
        opset: number of the operator set, see ``OPSETS``.
        unknown: operators in it that the evaluator lacks: it can be looked into, not run.
    """

    name: str
    inputs: Mapping[str, TensorType]
    states: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    block: Block
    constants: Mapping[str, Any]
    compressed: Mapping[str, tuple[str, ...]]
    palettes: Mapping[str, int]
    types: Mapping[str, TensorType]
    opset: int
    unknown: tuple[str, ...] = ()

    def refuse_unknown(self) -> None:
        """Raise ``NotRunError`` where the evaluator lacks operators, all named."""
        if self.unknown:
            raise NotRunError(
                f"the ML Program evaluator lacks the operator{'s' * (len(self.unknown) > 1)} "
                f"{', '.join(self.unknown)}, which {self.name} has",
                hint="On macOS the file runs in Core ML itself; --allow-unproven keeps it as it is.",
            )

    def new_states(self) -> dict[str, State]:
        """States that hold zeros."""
        return {name: State(np.zeros(t.shape, _held_dtype(t))) for name, t in self.states.items()}

    def run(self, inputs: Mapping[str, Array], states: Mapping[str, State] | None = None) -> dict[str, Array]:
        """Run once; see ``values``."""
        values = self.values(inputs, states)
        return {name: _outside(values[name], kind) for name, kind in self.outputs.items()}

    def values(self, inputs: Mapping[str, Array], states: Mapping[str, State] | None = None) -> dict[str, Any]:
        """Run once and return every value outside of loops by name, float16 as float32.

        Args:
            inputs: arrays by name, as declared.
            states: from ``new_states``; changed by the run. Zeros where none are given.

        Raises:
            UsageError: inputs are missing, unknown, or of another shape or kind.
            DamagedFileError: an operator cannot run on what the file gives it.
        """
        values: dict[str, Any] = dict(self._constants)
        values |= states if states is not None else self.new_states()
        values |= self._checked(inputs)
        with np.errstate(all="ignore"):  # infinities and NaN are results, to be seen by who compares
            _run_block(self.block, values)
        return values

    @functools.cached_property
    def _constants(self) -> dict[str, Any]:
        return {name: _inside(value) for name, value in self.constants.items()}

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if set(inputs) != set(self.inputs):
            raise UsageError(
                f"the file takes the inputs {', '.join(self.inputs)}; given: {', '.join(inputs) or 'none'}"
            )
        found = {}
        for name, kind in self.inputs.items():
            array = np.asarray(inputs[name])
            fits = len(array.shape) == len(kind.shape) and all(
                d in (-1, n) for d, n in zip(kind.shape, array.shape, strict=True)
            )
            if not fits:
                raise UsageError(f"input {name!r} has shape {array.shape}; the file takes {kind.shape}")
            wanted = kind.element.dtype
            if array.dtype.kind == "f" and wanted.kind != "f":
                raise UsageError(f"input {name!r} is {array.dtype.name}; the file takes {kind.element.name}")
            found[name] = _held(array, kind)
        return found


def load(folder: Path, function: str | None = None) -> Program:
    """Read a package and decode its constants.

    Args:
        folder: the ``.mlpackage``.
        function: name of the function; the file's own default.

    Raises:
        UsageError: no folder, or no such function.
        DamagedFileError: anything in it is missing, altered or does not fit together.
        UnsafeInputError: it points outside of itself.
        UnsupportedError: no ML Program, or an operator is newer than its deployment target.
        NotRunError: operators or element types that the evaluator lacks, all named.
    """
    program = read(package.read(folder), function)
    program.refuse_unknown()
    return program


def read(opened: package.Package, function: str | None = None) -> Program:
    """Read a program from a package, operators that the evaluator lacks included; see ``load``."""
    functions = opened.spec.mlProgram.functions
    name = function or opened.spec.description.defaultFunctionName or "main"
    if name not in functions:
        raise (UsageError if function else DamagedFileError)(
            f"{opened.name} has no function {name!r}; it has {', '.join(sorted(functions)) or 'none'}"
        )
    found = functions[name]
    opset = _opset(opened, found.opset)
    blocks = found.block_specializations
    if found.opset not in blocks:
        raise DamagedFileError(f"{opened.name}: function {name!r} has no code for its operator set", hint=_AGAIN)
    reader = _Reader(opened, opset)
    inputs, states = reader.arguments(found)
    block = reader.block(blocks[found.opset], set(inputs) | set(states))
    outputs = {}
    for output in block.outputs:
        if output not in reader.types:
            raise DamagedFileError(f"{opened.name}: the output {output!r} is no tensor", hint=_AGAIN)
        outputs[output] = reader.types[output]
    return Program(
        opened.name, inputs, states, outputs, block, reader.constants, reader.compressed, reader.palettes, reader.types,
        opset, tuple(sorted(reader.unknown)),
    )  # fmt: skip


def _opset(opened: package.Package, text: str) -> int:
    number = text.removeprefix("CoreML")
    if not number.isdigit() or int(number) not in OPSETS:
        raise NotRunError(f"{opened.name} uses the operator set {text!r}; known: CoreML5 to CoreML{max(OPSETS)}")
    version = opened.spec.specificationVersion
    if version != int(number) + 1:
        raise DamagedFileError(
            f"{opened.name} is of specification version {version}, its operators are of {text} (version "
            f"{int(number) + 1})",
            hint=_AGAIN,
        )
    return int(number)


class _Reader:
    """Reads blocks; collects constants, types, and the names of operators that are not known."""

    def __init__(self, opened: package.Package, opset: int) -> None:
        self.package, self.opset = opened, opset
        enumeration = proto.mil().DataType
        self.names = {number: name for name, number in enumeration.items()}
        self.values = Constants(opened.weights, self.names)
        self.constants: dict[str, Any] = {}
        self.compressed: dict[str, tuple[str, ...]] = {}
        self.palettes: dict[str, int] = {}
        self.types: dict[str, TensorType] = {}
        self.unknown: set[str] = set()
        self.count = 0

    def damaged(self, text: str) -> DamagedFileError:
        """Make an error that names the file."""
        return DamagedFileError(f"{self.package.name}: {text}", hint=_AGAIN)

    def arguments(self, function: Any) -> tuple[dict[str, TensorType], dict[str, TensorType]]:
        """Inputs and states of a function."""
        inputs: dict[str, TensorType] = {}
        states: dict[str, TensorType] = {}
        for value in function.inputs:
            kind = tensor_type(value.type, self.names, f"input {value.name!r}")
            if kind is None:
                raise self.damaged(f"the input {value.name!r} is no tensor")
            side = states if value.type.WhichOneof("type") == "stateType" else inputs
            side[value.name] = kind
            self.types[value.name] = kind
        return inputs, states

    def block(self, message: Any, visible: set[str]) -> Block:
        """Read a block in which these names are known already."""
        known = visible | {value.name for value in message.inputs}
        for value in message.inputs:
            self._declare(value)
        operations = []
        for inner in message.operations:
            operation = self.operation(inner, known)
            if operation is not None:
                operations.append(operation)
            known.update(value.name for value in inner.outputs)
        missing = [name for name in message.outputs if name not in known]
        if missing:
            raise self.damaged(f"the output {missing[0]!r} is nowhere computed")
        return Block(tuple(v.name for v in message.inputs), tuple(operations), tuple(message.outputs))

    def operation(self, message: Any, known: set[str]) -> Operation | None:
        """Read an operator; None for constants, which are decoded at once."""
        name = message.outputs[0].name if message.outputs else message.type
        where = f"{message.type} {name!r}"
        outputs = tuple((value.name, self._declare(value)) for value in message.outputs)
        if message.type == "const":
            if "val" not in message.attributes or len(outputs) != 1:
                raise self.damaged(f"{where} has no value")
            self.constants[name] = self.values.read(message.attributes["val"], where)
            return None
        since = SINCE.get(message.type, 5)
        if since > self.opset:
            raise UnsupportedError(
                f"{self.package.name}: the operator {where} came with {OPSETS[since]}; the file is for "
                f"{OPSETS[self.opset]}",
                hint="Convert with a later minimum_deployment_target.",
            )
        inputs = {key: self._names(argument, f"{where}: {key}", known) for key, argument in message.inputs.items()}
        if message.type in CONSTEXPR:
            self._decode(message, inputs, outputs, where)
            return None
        if message.type not in OPERATORS and message.type not in _CONTROL:
            self.unknown.add(message.type)
        lists = frozenset(k for k, names in inputs.items() if k in _LISTS or len(names) > 1)
        blocks = tuple(self.block(inner, known) for inner in message.blocks)
        if message.type in _CONTROL and len(blocks) != 2:
            raise self.damaged(f"{where} has {len(blocks)} blocks")
        return Operation(message.type, name, inputs, lists, outputs, blocks)

    def _declare(self, value: Any) -> TensorType | None:
        kind = tensor_type(value.type, self.names, f"value {value.name!r}")
        if kind is not None:
            self.types[value.name] = kind
        return kind

    def _names(self, argument: Any, where: str, known: set[str]) -> tuple[str, ...]:
        names = []
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "value":
                name = self._attribute(binding.value, where)
            else:
                name = binding.name
                if name not in known:
                    raise self.damaged(f"{where} takes {name!r}, which is not known there")
            names.append(name)
        if not names:
            raise self.damaged(f"{where} takes nothing")
        return tuple(names)

    def _attribute(self, value: Any, where: str) -> str:
        """Read a value that has no name of its own; returns the one it gets."""
        self.count += 1
        name = f"{where} #{self.count}"
        self.constants[name] = self.values.read(value, where)
        kind = tensor_type(value.type, self.names, where)
        if kind is not None:
            self.types[name] = kind
        return name

    def _decode(
        self,
        message: Any,
        inputs: Mapping[str, tuple[str, ...]],
        outputs: tuple[tuple[str, TensorType | None], ...],
        where: str,
    ) -> None:
        # The operators of iOS 16 carry what they decode as attributes, those of iOS 18 as inputs.
        values = {key: value for key, value in message.attributes.items() if key != "name"}
        carried = {key: (self._attribute(value, f"{where}: {key}"),) for key, value in values.items()}
        inputs = {**inputs, **carried}
        ordered = sorted(inputs, key=lambda key: (key not in _DATA, key))  # a protobuf map has no order
        sources = [name for key in ordered for name in inputs[key]]
        missing = [name for name in sources if name not in self.constants]
        if missing:
            raise self.damaged(f"{where} is to be decoded from {missing[0]!r}, which is no constant")
        given = {key: self.constants[names[0]] for key, names in inputs.items()}
        try:
            found = CONSTEXPR[message.type](**given)
            results = found if isinstance(found, tuple) else (found,)
            for (name, kind), result in zip(outputs, results, strict=True):
                if kind is None or result.shape != kind.shape:
                    raise ValueError(f"gives shape {result.shape}, declared is {kind.shape if kind else None}")
                with np.errstate(over="ignore"):
                    self.constants[name] = result.astype(kind.element.dtype)
                self.compressed[name] = tuple(sources)
                if "lut" in given:
                    table = given["lut"]
                    self.palettes[name] = int(math.log2(table.size if table.ndim == 1 else table.shape[-2]))
        except _UNFIT as error:
            raise self.damaged(f"{where} cannot be decoded: {error}") from error


#: What NumPy and Python raise where sizes, types or parameters do not fit: the file is at fault.
_UNFIT = (ValueError, TypeError, IndexError, KeyError, AttributeError, ArithmeticError, MemoryError, AssertionError)


def _run_block(block: Block, values: dict[str, Any]) -> None:
    for operation in block.operations:
        results = _control(operation, values) if operation.type in _CONTROL else _call(operation, values)
        for (name, kind), result in zip(operation.outputs, results, strict=True):
            values[name] = result if kind is None else _declared(result, kind, operation, values)


def _call(operation: Operation, values: dict[str, Any]) -> tuple[Any, ...]:
    given = {
        key: [values[n] for n in names] if key in operation.lists else values[names[0]]
        for key, names in operation.inputs.items()
    }
    first = operation.outputs[0][1] if operation.outputs else None
    if operation.type in _STEPPING and first is not None:
        given["rounded"] = functools.partial(_held, kind=first)
    try:
        found = OPERATORS[operation.type](**given)
    except _UNFIT as error:
        raise DamagedFileError(
            f"{operation.type} {operation.name!r} cannot run: {type(error).__name__}: {error}", hint=_AGAIN
        ) from error
    results = found if isinstance(found, tuple) else (found,)
    if len(results) != len(operation.outputs):
        raise DamagedFileError(
            f"{operation.type} {operation.name!r} gives {len(results)} results; the file names "
            f"{len(operation.outputs)}",
            hint=_AGAIN,
        )
    return results


_STEPPING = frozenset(name for name, f in OPERATORS.items() if "rounded" in inspect.signature(f).parameters)


def _control(operation: Operation, values: dict[str, Any]) -> Sequence[Any]:
    if operation.type == "cond":
        chosen = operation.blocks[0 if _truth(values[operation.inputs["pred"][0]], operation) else 1]
        _run_block(chosen, values)
        return [values[name] for name in chosen.outputs]
    test, body = operation.blocks
    state = [values[name] for name in operation.inputs["loop_vars"]]
    for _ in range(MOST_ITERATIONS):
        values.update(zip(test.inputs, state, strict=True))
        _run_block(test, values)
        if not _truth(values[test.outputs[0]], operation):
            return state
        values.update(zip(body.inputs, state, strict=True))
        _run_block(body, values)
        state = [values[name] for name in body.outputs]
    raise DamagedFileError(f"while_loop {operation.name!r} did not end in {MOST_ITERATIONS} iterations")


def _truth(value: Any, operation: Operation) -> bool:
    array = np.asarray(value)
    if array.size != 1:
        raise DamagedFileError(f"{operation.type} {operation.name!r} decides by a tensor of shape {array.shape}")
    return bool(array.reshape(())[()])


def _declared(result: Any, kind: TensorType, operation: Operation, values: dict[str, Any]) -> Any:
    if isinstance(result, str | list | State):
        return result
    array = np.asarray(result)
    same = array.ndim == len(kind.shape) and all(d in (-1, n) for d, n in zip(kind.shape, array.shape, strict=True))
    if not same:
        raise DamagedFileError(
            f"{operation.type} {operation.name!r} gives shape {array.shape}; the file says {kind.shape}", hint=_AGAIN
        )
    return _held(array, kind)


def _held_dtype(kind: TensorType) -> np.dtype[Any]:
    return np.dtype(np.float32) if kind.element.name == "float16" else kind.element.dtype


def _held(array: Array, kind: TensorType) -> Array:
    """A value as it is held between operators: float16 rounded, in float32."""
    if kind.element.name == "float16":
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(array).astype(np.float16).astype(np.float32)
    with np.errstate(invalid="ignore"):
        return np.asarray(array).astype(kind.element.dtype, copy=False)


def _inside(value: Any) -> Any:
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype == np.float16 else value


def _outside(value: Any, kind: TensorType) -> Array:
    return np.array(value, kind.element.dtype)
