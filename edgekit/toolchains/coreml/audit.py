"""What is inside an ``.mlpackage``, read from the file itself; nothing is executed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.mil.package import read
from edgekit.mil.program import Operation, Program
from edgekit.mil.program import read as read_program
from edgekit.toolchains import Audit, IOTensor
from edgekit.toolchains.coreml import checks

#: Operator -> parameters that are multiplied: the activation, then weights or the second factor.
_PRODUCTS: dict[str, tuple[str, ...]] = {
    "conv": ("x", "weight"),
    "conv_transpose": ("x", "weight"),
    "linear": ("x", "weight"),
    "matmul": ("x", "y"),
    "einsum": ("values",),
    "scaled_dot_product_attention": ("query", "key", "value"),
    "lstm": ("x", "weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"),
    "gru": ("x", "weight_ih", "weight_hh"),
    "rnn": ("x", "weight_ih", "weight_hh"),
}
_QDQ = frozenset(("quantize", "dequantize"))
#: Operators that move values without changing them: quantized where their source is.
_MOVES = frozenset(
    ("reshape", "transpose", "expand_dims", "squeeze", "split", "slice_by_index", "concat", "stack", "max_pool",
     "tile", "relu", "reverse", "flatten2d", "identity")
)  # fmt: skip
_MOST_NAMES = 20


def audit(file: Path) -> Audit:
    """Count what a file holds and check it statically; see ``Audit``.

    Constants and ``quantize`` / ``dequantize`` pairs are not counted as operators. In a file whose activations have no
    static ranges, products of two activations carry no weights and are left out of ``macs_total``.

    Raises:
        DamagedFileError, UnsafeInputError, UnsupportedError: see ``edgekit.mil.load``.
    """
    opened = read(file)
    return _Reading(read_program(opened), opened.names).audit()


def product_types(program: Program) -> Counter[str]:
    """What convolutions, products and recurrent layers compute in, counted: ``f32``, ``f16``, ``int8``."""
    reading = _Reading(program, {})
    found: Counter[str] = Counter()
    for operation in reading.operations:
        if operation.type in _PRODUCTS:
            kind = program.types[operation.outputs[0][0]].element.name
            found["int8" if all(map(reading.quantized, reading.factors(operation))) else f"f{kind[5:]}"] += 1
    return found


class _Reading:
    """A program with the lookups that the counting needs."""

    def __init__(self, program: Program, names: Mapping[str, str]) -> None:
        self.program, self.names = program, names
        everything = list(program.block.all_operations())
        self.operations = [o for o in everything if o.type not in _QDQ]
        self.producer = {name: o for o in everything for name, _ in o.outputs}
        self.parameters = {
            name
            for o in everything
            if o.type in _QDQ
            for k, names in o.inputs.items()
            if k != "input"
            for name in names
        }
        self.static = any(o.type == "quantize" for o in everything)

    @cached_property
    def compressed(self) -> bool:
        """Whether any weights are stored in int8."""
        return any(self.stored(name) in ("int8", "uint8") for name in self.program.compressed)

    def stored(self, name: str) -> str:
        """Element type in which a constant lies in the file."""
        sources = self.program.compressed.get(name)
        while sources and sources[0] in self.program.compressed:
            sources = self.program.compressed[sources[0]]
        return self.program.types[sources[0] if sources else name].element.name

    def quantized(self, name: str) -> bool:
        """Whether a value has int8 behind it: stored so, or on a grid of 256 levels."""
        if name in self.program.constants:
            return self.stored(name) in ("int8", "uint8")
        operation = self.producer.get(name)
        if operation is None:
            return False
        if operation.type == "dequantize":
            return True
        if operation.type in _MOVES:
            moved = operation.inputs.get("values") or operation.inputs["x"]
            return all(self.quantized(n) for n in moved)
        return False

    def factors(self, operation: Operation) -> list[str]:
        """Names of what a product multiplies."""
        return [n for key in _PRODUCTS[operation.type] for n in operation.inputs.get(key, ())]

    def audit(self) -> Audit:
        """Count everything."""
        elements, sizes = self._weights()
        total = done = 0
        floats: list[str] = []
        for operation in self.operations:
            macs, has_weights, counted, in_float = self._product(operation)
            if has_weights or self.static or not self.compressed:
                total += macs
                done += macs if counted else 0
            if in_float:
                floats.append(f"{operation.type}:{operation.name}")
        activations = Counter(kind.element.name for o in self.operations for _, kind in o.outputs if kind is not None)
        return Audit(
            inputs=tuple(self._tensor(name, kind) for name, kind in self.program.inputs.items()),
            outputs=tuple(self._tensor(name, kind) for name, kind in self.program.outputs.items()),
            weight_bytes=dict(sizes),
            weight_elements=dict(elements),
            activation_types=dict(activations),
            ops_total=len(self.operations),
            ops_quantized=sum(self._is_quantized(o) for o in self.operations),
            macs_total=total,
            macs_quantized=done,
            float_ops=tuple(floats[:_MOST_NAMES]),
            transposes=sum(o.type == "transpose" for o in self.operations),
            findings=tuple(self._findings()),
        )

    def _tensor(self, name: str, kind: Any) -> IOTensor:
        return IOTensor(self.names.get(name, name), kind.shape, kind.element.name)

    def _stored_arrays(self) -> Iterator[tuple[str, str, int, int]]:
        """Name, element type, elements and bits of what carries weights, as it lies in the file.

        Of a compressed constant only the data count: its scales, offsets and tables say how to read them.
        """
        of_compressed = {name for sources in self.program.compressed.values() for name in sources}
        data = {sources[0] for sources in self.program.compressed.values()} - set(self.program.compressed)
        for name, value in self.program.constants.items():
            skipped = name in self.program.compressed or (name in of_compressed and name not in data)
            if skipped or name in self.parameters or name not in self.program.types:
                continue
            element = self.program.types[name].element
            numeric = element.name.startswith(("float", "int8", "uint8", "int4", "uint"))
            if numeric and isinstance(value, np.ndarray) and value.ndim:
                yield name, element.name, value.size, value.size * element.bits

    def _weights(self) -> tuple[Counter[str], Counter[str]]:
        elements: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for _, kind, count, bits in self._stored_arrays():
            elements[kind] += count
            sizes[kind] += -(-bits // 8)
        return elements, sizes

    def _product(self, operation: Operation) -> tuple[int, bool, bool, bool]:
        """MACs; whether it has weights; whether they count as quantized; whether anything in it stayed float."""
        if operation.type == "gather" and operation.inputs["x"][0] in self.program.constants:
            table = operation.inputs["x"][0]
            matrix = len(self.program.types[table].shape) > 1 and self.stored(table).startswith("float")
            return 0, True, False, matrix
        if operation.type not in _PRODUCTS:
            return 0, False, False, False
        data = self.factors(operation)
        weights = [name for name in data if name in self.program.constants]
        int8 = [self.quantized(name) for name in data]
        stored = bool(weights) and all(self.quantized(name) for name in weights)
        counted = all(int8) if self.static else stored
        return self._macs(operation), bool(weights), counted, bool(weights) and not all(int8)

    def _macs(self, operation: Operation) -> int:
        shapes = [self.program.types[name].shape for name in self.factors(operation)]
        out = self.program.types[operation.outputs[0][0]].shape
        first = shapes[0]
        if operation.type == "conv":
            return math.prod(out) * math.prod(shapes[1][1:])
        if operation.type == "conv_transpose":
            return math.prod(first) * math.prod(shapes[1][1:])
        if operation.type == "linear":
            return math.prod(first) * shapes[1][0]
        if operation.type == "matmul":
            turned = bool(self._constant(operation, "transpose_x")) and len(first) > 1
            return math.prod(out) * first[-2 if turned else -1]
        if operation.type == "scaled_dot_product_attention":
            return math.prod(first[:-1]) * shapes[1][-2] * (first[-1] + shapes[2][-1])
        if operation.type == "einsum":
            terms = str(self._constant(operation, "equation")).replace(" ", "").split("->")[0].split(",")
            sizes = {
                letter: n for term, s in zip(terms, shapes, strict=True) for letter, n in zip(term, s, strict=True)
            }
            return math.prod(sizes.values())
        return math.prod(first[:2]) * sum(math.prod(shape) for shape in shapes[1:])

    def _constant(self, operation: Operation, key: str) -> Any:
        names = operation.inputs.get(key)
        return self.program.constants.get(names[0]) if names else None

    def _is_quantized(self, operation: Operation) -> bool:
        """Whether it computes on int8 values, or merely moves them."""
        if operation.type in _PRODUCTS:
            return all(map(self.quantized, self.factors(operation)))
        if operation.type in ("add", "avg_pool", "mul", "reduce_mean"):
            variable = [n for key in ("x", "y") for n in operation.inputs.get(key, ())]
            return all(self.quantized(n) for n in variable if n not in self.program.constants)
        return operation.type in _MOVES and self.quantized(operation.outputs[0][0])

    def _findings(self) -> Iterator[str]:
        yield from checks.findings(self.program)
        for name, value in self.program.constants.items():
            if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                continue
            if np.isnan(value).any():
                yield f"the constant {name!r} holds NaN"
            elif value.ndim > 1 and np.isinf(value).any():
                yield f"the weight {name!r} holds infinity"
        for operation in self.program.block.all_operations():
            scale = self._constant(operation, "scale") if operation.type in _QDQ else None
            if scale is not None and not (np.isfinite(scale).all() and (np.asarray(scale) > 0).all()):
                yield f"{operation.type} {operation.name!r} has a scale that is not positive and finite"
