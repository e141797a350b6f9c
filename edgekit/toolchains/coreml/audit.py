"""What is inside an ``.mlpackage``, read from the file itself; nothing is executed."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.mil.package import read
from edgekit.mil.program import Block, Operation, Program
from edgekit.mil.program import read as read_program
from edgekit.result import IO, Inspected
from edgekit.scheme import Kind
from edgekit.toolchains._shared import products, rules
from edgekit.toolchains._shared.products import Product, Weights
from edgekit.toolchains._shared.rules import Found
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
_CELLS = frozenset(("lstm", "gru", "rnn"))


def audit(file: Path, entry: str | None = None) -> Inspected:
    """Count what a file holds and check it statically; see ``Audit``.

    Constants and ``quantize`` / ``dequantize`` pairs are not counted as operators. A product whose factors are all int8
    is computed in integers; recurrent cells are not, nor is what has int8 weights alone.

    Raises:
        DamagedFileError, UnsafeInputError, UnsupportedError: see ``edgekit.mil.load``.
    """
    opened = read(file)
    found = _Reading(read_program(opened, entry), opened.names).audit()
    return found.model_copy(update={"entries": tuple(sorted(opened.spec.mlProgram.functions))})


def layers(program: Program) -> list[Found[str]]:
    """The layers of a float program by the names of their operators."""
    reading = _Reading(program, {})
    # What a model is wrapped in to be traced, and what an exported program calls its parameters.
    constants = {
        o.name: [re.sub("^(inner|p)_", "", name) for name in reading.factors(o) if reading.constant(name)]
        for o in program.block.all_operations()
        if o.type in _PRODUCTS
    }
    return rules.of_layers(reading.audit().layers, constants)


@dataclass(frozen=True)
class Factor:
    """A constant that an operator multiplies with, or looks rows up in.

    Attributes:
        operation: the operator's name.
        kind: what it does with its weights.
        output: axis of the output channels; of a table of its rows.
        input: of what is summed over.
        shape: output channels, input channels of one group, and the rest.
    """

    operation: str
    kind: Kind
    output: int
    input: int
    shape: tuple[int, ...]


def factors(program: Program) -> dict[str, list[Factor]]:
    """Matrices, filters and tables of a float program by their names, each with all that use it."""
    reading = _Reading(program, {})
    found: dict[str, list[Factor]] = {}
    for operation in program.block.all_operations():
        for name, factor in reading.matrices(operation):
            found.setdefault(name, []).append(factor)
    return found


def weights(program: Program) -> set[str]:
    """Names of the constants that operators multiply with along a sum, or look up in."""
    reading, found = _Reading(program, {}), set[str]()
    for operation in program.block.all_operations():
        keys = ("x",) if operation.type == "gather" else _PRODUCTS.get(operation.type, ())
        taken = (name for key in keys for name in operation.inputs.get(key, ()))
        found |= {name for name in map(reading.constant, taken) if name is not None}
    return found


def product_types(program: Program) -> Counter[str]:
    """What convolutions, products and recurrent layers compute in, counted: ``f32``, ``f16``, ``int8``."""
    reading = _Reading(program, {})
    found: Counter[str] = Counter()
    for operation in reading.operations:
        if operation.type in _PRODUCTS:
            kind = program.types[operation.outputs[0][0]].element.name
            found["int8" if reading.in_integers(operation) else f"f{kind[5:]}"] += 1
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
        self.scaled = {n for o in everything if o.type == "dequantize" for n in o.inputs["input"]}
        self.same = {name: outside for o in everything if o.type == "while_loop" for name, outside in _kept(o)}

    def constant(self, name: str) -> str | None:
        """Name of the constant that a value is, one that a loop hands on unchanged included; None for others."""
        while name in self.same:
            name = self.same[name]
        return name if name in self.program.constants else None

    def decoded(self, name: str) -> str:
        """What a constant is in the first of the steps that decode it: its own name where it is stored as it is."""
        while (sources := self.program.compressed.get(name)) and sources[0] in self.program.compressed:
            name = sources[0]
        return name

    def stored(self, name: str) -> str:
        """Element type in which a constant lies in the file; ``lut4`` where these are indices into a table."""
        first = self.decoded(name)
        if bits := self.program.palettes.get(first):
            return f"lut{bits}"
        return self.program.types[self.program.compressed.get(first, (first,))[0]].element.name

    def quantized(self, name: str) -> bool:
        """Whether a value has int8 behind it: stored so, or on a grid of 256 levels."""
        if (constant := self.constant(name)) is not None:
            return self.stored(constant) in ("int8", "uint8", "int4", "uint4")
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

    def matrices(self, operation: Operation) -> Iterator[tuple[str, Factor]]:
        """Constants that an operator multiplies with, by name, where a sum goes along one of their axes."""
        kind = operation.type
        keys = ("x",) if kind == "gather" else _PRODUCTS.get(kind, ())
        if kind in ("einsum", "scaled_dot_product_attention"):
            return
        for key in keys:
            for name in filter(None, map(self.constant, operation.inputs.get(key, ()))):
                shape, groups = self.program.types[name].shape, 1
                if len(shape) < 2 or (kind == "gather" and len(shape) > 2):
                    continue
                output, given = 0, 1
                if kind == "conv_transpose":
                    output, given, groups = 1, 0, self._groups(operation)
                elif kind == "matmul":
                    turned = bool(self._constant(operation, f"transpose_{key}"))
                    output, given = (len(shape) - n for n in ((2, 1) if turned == (key == "y") else (1, 2)))
                what: Kind = "embedding" if kind == "gather" else self._kind(operation)
                rest = [size for axis, size in enumerate(shape) if axis not in (output, given)]
                yield name, Factor(operation.name, what, output, given, (shape[output], shape[given] // groups, *rest))

    def audit(self) -> Inspected:
        """Count everything."""
        elements, sizes = self._weights()
        activations = Counter(kind.element.name for o in self.operations for _, kind in o.outputs if kind is not None)
        return Inspected(
            inputs=tuple(self._tensor(name, kind) for name, kind in self.program.inputs.items()),
            outputs=tuple(self._tensor(name, kind) for name, kind in self.program.outputs.items()),
            weight_bytes=dict(sizes),
            weight_elements=dict(elements),
            activation_types=dict(activations),
            ops_total=len(self.operations),
            ops_quantized=sum(self._is_quantized(o) for o in self.operations),
            **products.count(self.products(self.program.block)),
            transposes=sum(o.type == "transpose" for o in self.operations),
            findings=tuple(self._findings()),
        )

    def _tensor(self, name: str, kind: Any) -> IO:
        return IO(name=self.names.get(name, name), shape=kind.shape, dtype=kind.element.name)

    def _stored_arrays(self) -> Iterator[tuple[str, str, int, int]]:
        """Name, element type, elements and bits of what carries weights, as it lies in the file.

        Of a compressed constant only the data count: its scales, offsets and tables say how to read them.
        """
        of_compressed = {name for sources in self.program.compressed.values() for name in sources}
        data = {sources[0] for sources in self.program.compressed.values()} - set(self.program.compressed)
        palettes = {self.program.compressed[name][0]: name for name in self.program.palettes}
        tables = {name for decoded in palettes.values() for name in self.program.compressed[decoded][1:]}
        data -= {source for name in tables for source in self.program.compressed.get(name, ())}
        for name, value in self.program.constants.items():
            skipped = name in self.program.compressed or (name in of_compressed and name not in data)
            if skipped or name in self.parameters or name not in self.program.types:
                continue
            element = self.program.types[name].element
            if decoded := palettes.get(name):
                yield name, self.stored(decoded), self.program.constants[decoded].size, value.size * element.bits
                continue
            numeric = element.name.startswith(("float", "int8", "uint8", "int4", "uint"))
            # Integers that nothing makes real numbers of are no weights: a mask, a type's own values.
            numeric &= element.name.startswith("float") or name in data or name in self.scaled
            if numeric and isinstance(value, np.ndarray) and value.ndim:
                yield name, element.name, value.size, value.size * element.bits

    def _weights(self) -> tuple[Counter[str], Counter[str]]:
        elements: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for _, kind, count, bits in self._stored_arrays():
            elements[kind] += count
            sizes[kind] += -(-bits // 8)
        return elements, sizes

    def products(self, block: Block) -> Iterator[Product]:
        """What multiplies: the body of a loop times its trips, the costlier branch of a condition."""
        for operation in block.operations:
            inside = [list(self.products(inner)) for inner in operation.blocks]
            if operation.type == "while_loop":
                trips = self._trips(operation)
                yield from (product.times(trips) for part in inside for product in part)
            elif inside:
                yield from max(inside, key=lambda part: sum(product.macs for product in part))
            elif operation.type not in _QDQ:
                yield from self._product(operation)

    def _product(self, operation: Operation) -> Iterator[Product]:
        kind, name = operation.type, operation.name
        if kind == "gather" and (table := self.constant(operation.inputs["x"][0])) is not None:
            rows, stored = self._weights_of(table)._replace(axis=None), self.quantized(table)
            if len(rows.shape) > 1 and (stored or rows.type.startswith(("float", "lut"))):
                yield Product(kind, name, "embedding", 0, stored, lambda: [rows])
        if kind not in _PRODUCTS:
            return
        fixed = any(self.constant(n) is not None for n in self.factors(operation))
        weights = partial(self._laid_out, operation) if fixed else None
        what = self._kind(operation)
        yield Product(kind, name, what, self._macs(operation), self.in_integers(operation), weights)

    def _kind(self, operation: Operation) -> Kind:
        """What a product does."""
        shapes = [self.program.types[name].shape for name in self.factors(operation)]
        if operation.type in _CELLS:
            return "recurrent"
        if operation.type == "conv_transpose":
            return "transposed-conv"
        if operation.type == "conv":
            return "depthwise-conv" if self._groups(operation) > 1 and shapes[1][1:2] == (1,) else "conv"
        right = operation.inputs["y"][0] if operation.type == "matmul" else ""
        single = self.constant(right) is not None and math.prod(shapes[1][:-2]) == 1
        return "linear" if operation.type == "linear" or single else "matmul"

    def _groups(self, operation: Operation) -> int:
        groups = self._constant(operation, "groups")
        return 1 if groups is None else int(groups)

    def _laid_out(self, operation: Operation) -> list[Weights]:
        """The constants among a product's factors as ``Layer.shape`` lays them out."""
        found = []
        for key in _PRODUCTS[operation.type]:
            for constant in filter(None, map(self.constant, operation.inputs.get(key, ()))):
                weights = self._weights_of(constant)
                if operation.type == "conv_transpose":
                    groups = self._groups(operation)
                    weights = weights.laid_out(partial(products.transposed_filter, groups=groups))
                elif operation.type in _CELLS:
                    weights = weights._replace(state=key.startswith("weight_hh"))
                elif operation.type == "matmul":
                    turned = bool(self._constant(operation, f"transpose_{key}"))
                    if turned != (key == "y") and len(weights.shape) > 1:
                        weights = weights.laid_out(lambda a: a.swapaxes(-1, -2))
                    linear = self._kind(operation) == "linear"
                    weights = products.matrix(weights) if linear else weights._replace(axis=-1)
                elif operation.type not in ("conv", "linear"):
                    weights = weights._replace(axis=None)
                found.append(weights)
        return found

    def _weights_of(self, constant: str) -> Weights:
        """A constant as it is stored. A palette has its tables in the place of scales, a sparse one less elements."""
        values = np.asarray(self.program.constants[constant])
        scales, decoded = None, constant
        while scales is None and (sources := self.program.compressed.get(decoded)):
            data, *how = (np.asarray(self.program.constants[name]) for name in sources)
            whole = data.ndim == values.ndim
            scales = next((a.size for a in how if whole and a.dtype.kind == "f" and a.ndim <= data.ndim), None)
            decoded = sources[0]
        kind = self.stored(constant)
        if scales is None and (bits := self.program.palettes.get(self.decoded(constant))):
            tables = self.program.compressed[self.decoded(constant)][1]
            scales = np.size(self.program.constants[tables]) >> bits
        return Weights(values.shape, kind, None if "float" in kind else scales, values == 0)

    def in_integers(self, operation: Operation) -> bool:
        """Whether Core ML can compute a product in int8."""
        return operation.type not in _CELLS and all(map(self.quantized, self.factors(operation)))

    def _trips(self, loop: Operation) -> int:
        """How often a loop runs, by the counters that its condition compares with a constant; 1 where there is none."""
        test, body = loop.blocks
        made = {name: o for o in body.operations for name, _ in o.outputs}
        found = []
        for compared in (o for o in test.operations if o.type == "less" and o.inputs["x"][0] in test.inputs):
            place = test.inputs.index(compared.inputs["x"][0])
            step = made.get(body.outputs[place])
            if step is None or step.type != "add" or step.inputs["x"][0] != body.inputs[place]:
                continue
            names = (loop.inputs["loop_vars"][place], step.inputs["y"][0], compared.inputs["y"][0])
            numbers = [self.program.constants[n] for n in names if n in self.program.constants]
            if len(numbers) == 3 and all(np.size(number) == 1 for number in numbers):
                found.append(products.trips(*(np.asarray(number).item() for number in numbers)))
        return min(found, default=1)

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
            return products.einsum(str(self._constant(operation, "equation")), shapes)
        return math.prod(first[:2]) * sum(math.prod(shape) for shape in shapes[1:])  # steps x batch

    def _constant(self, operation: Operation, key: str) -> Any:
        names = operation.inputs.get(key)
        return self.program.constants.get(names[0]) if names else None

    def _is_quantized(self, operation: Operation) -> bool:
        """Whether it computes on int8 values, or merely moves them."""
        if operation.type in _PRODUCTS:
            return self.in_integers(operation)
        if operation.type in ("add", "avg_pool", "mul", "reduce_mean"):
            variable = [n for key in ("x", "y") for n in operation.inputs.get(key, ())]
            return all(self.quantized(n) for n in variable if n not in self.program.constants)
        return operation.type in _MOVES and self.quantized(operation.outputs[0][0])

    def _findings(self) -> Iterator[str]:
        yield from checks.findings(self.program)
        # A mask of attention may hold infinities, what is multiplied may not.
        products = [o for o in self.operations if o.type in _PRODUCTS]
        factors = {self.constant(name) for o in products for name in self.factors(o)}
        for name, value in self.program.constants.items():
            if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                continue
            if np.isnan(value).any():
                yield f"the constant {name!r} holds NaN"
            elif name in factors and np.isinf(value).any():
                yield f"the weight {name!r} holds infinity"
        for operation in self.program.block.all_operations():
            scale = self._constant(operation, "scale") if operation.type in _QDQ else None
            if scale is not None and not (np.isfinite(scale).all() and (np.asarray(scale) > 0).all()):
                yield f"{operation.type} {operation.name!r} has a scale that is not positive and finite"


def _kept(loop: Operation) -> Iterator[tuple[str, str]]:
    """Values that a loop hands on unchanged: their names in its condition and body, and outside."""
    test, body = loop.blocks
    carried = zip(test.inputs, body.inputs, loop.inputs["loop_vars"], body.outputs, strict=False)
    for in_test, inside, outside, after in carried:
        if after == inside:
            yield from ((inside, outside), (in_test, outside))
