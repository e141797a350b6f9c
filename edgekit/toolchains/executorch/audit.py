"""What is really inside a .pte file, the XNNPACK delegates' payloads included; nothing is executed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.toolchains import Audit, IOTensor
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Product
from edgekit.toolchains.executorch import xnnpack
from edgekit.toolchains.executorch.flatbuffer import BadBytesError
from edgekit.toolchains.executorch.program import Call, Program, Tensor, damaged, read

#: Kernels of the portable library that carry weights: positions of the data, then of the weights.
_PRODUCTS = {
    "aten::convolution.out": (0, 1),
    "aten::linear.out": (0, 1),
    "aten::addmm.out": (1, 2),
    "aten::mm.out": (0, 1),
    "aten::bmm.out": (0, 1),
}
_TABLES = {"aten::embedding.out": 0, "quantized_decomposed::embedding_byte.out": 0}
_TRANSPOSES = ("aten::permute_copy.out", "aten::transpose_copy.int_out", "aten::t_copy.out")
#: Position of the argument of a convolution that says whether it is a transposed one.
_TRANSPOSED = 6


def sidecar(file: Path, entry: str | None = None) -> Path:
    """The file beside a .pte that holds the names of a method's inputs and outputs, which the format itself has not."""
    return file.with_suffix(".io.json" if entry is None else f".{entry}.io.json")


def write_sidecar(file: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], entry: str | None = None) -> None:
    """Write names, types and shapes of a converted program's inputs and outputs; raises ``DamagedFileError``."""
    program = read(file, entry)
    rows = {
        side: [{"name": n, "dtype": t.type, "shape": list(t.shape)} for n, t in zip(names, tensors, strict=True)]
        for side, names, tensors in (
            ("inputs", inputs, tensors_at(program, program.inputs)),
            ("outputs", outputs, tensors_at(program, program.outputs)),
        )
    }
    sidecar(file, entry).write_text(json.dumps({"schema": 1, **rows}, indent=1) + "\n", "utf-8")


def tensors_at(program: Program, places: tuple[int, ...]) -> list[Tensor]:
    """The tensors among some values (an output may be None)."""
    return [t for t in (program.values[place] for place in places) if t is not None]


def tensors(
    file: Path, program: Program, entry: str | None = None
) -> tuple[tuple[IOTensor, ...], tuple[IOTensor, ...]]:
    """Inputs and outputs, named by the file beside it; numbered where there is none.

    Raises:
        DamagedFileError: the file beside it is not readable, or tells of other tensors than the program has.
    """
    found = {"inputs": tensors_at(program, program.inputs), "outputs": tensors_at(program, program.outputs)}
    names = {side: [f"{side[:-1]}_{i}" for i in range(len(rows))] for side, rows in found.items()}
    beside = sidecar(file, entry)
    if beside.is_file():
        try:
            told: Any = json.loads(beside.read_text("utf-8"))
            for side, rows in found.items():
                described = [(tuple(row["shape"]), row["dtype"]) for row in told[side]]
                if described != [(t.shape, t.type) for t in rows]:
                    raise damaged(beside, f"its {side} are not those of {file.name}")
                names[side] = [str(row["name"]) for row in told[side]]
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(beside, f"it does not tell the names of {file.name}: {error!r}") from error
    inputs, outputs = (
        tuple(IOTensor(n, t.shape, t.type) for n, t in zip(names[side], found[side], strict=True)) for side in found
    )
    return inputs, outputs


def audit(file: Path, entry: str | None = None) -> Audit:
    """Count what a file holds and check it statically; see ``Audit``.

    Operators inside the delegate and kernels outside count alike; the kernels compute in float. The body of a loop, of
    which a program holds jumps between its instructions alone, is counted once.

    Raises:
        DamagedFileError: the file is not a whole .pte, or not the one that the names beside it were written for.
    """
    contents = inspect(file, entry)
    inputs, outputs = tensors(file, contents.program, entry)
    return replace(contents.audit(inputs, outputs), entries=contents.program.methods)


def inspect(file: Path, entry: str | None = None) -> Contents:
    """Read a method and its delegates' payloads; raises as ``program.read``."""
    program = read(file, entry)
    try:
        nodes = [xnnpack.parse(d.payload, program.named) if d.id == xnnpack.ID else () for d in program.delegates]
    except BadBytesError as error:
        raise damaged(file, error) from error
    return Contents(program, tuple(nodes))


@dataclass(frozen=True)
class Contents:
    """A program with the operators of its delegates (in the order of ``Program.delegates``)."""

    program: Program
    nodes: tuple[tuple[xnnpack.Node, ...], ...]

    @cached_property
    def delegated(self) -> list[xnnpack.Node]:
        """Operators inside the XNNPACK delegate."""
        return [node for nodes in self.nodes for node in nodes]

    @cached_property
    def kernels(self) -> list[Call]:
        """Operators outside any delegate."""
        return [call for call in self.program.calls if call.delegate is None]

    @cached_property
    def outside(self) -> dict[str, int]:
        """Names of the kernels outside, with their number, the most frequent first."""
        return dict(Counter(call.kernel.removesuffix(".out") for call in self.kernels).most_common())

    @cached_property
    def in_delegate(self) -> list[Product]:
        """Convolutions and matrix products inside the XNNPACK delegate."""
        found = []
        for i, nodes in enumerate(self.nodes):
            for j, node in enumerate(nodes):
                if node.macs:
                    weights = [v for v in node.inputs[:2] if v.constant is not None]
                    stored = all(v.scaled for v in weights)
                    found.append(Product(f"{node.type}:{i}/{j}", node.macs, bool(weights), node.integer, not stored))
        return found

    @cached_property
    def in_kernels(self) -> list[Product]:
        """Those outside, and lookups in tables."""
        found = []
        for call in self.kernels:
            if call.kernel in _PRODUCTS:
                data, weights = (self._tensor(call, place) for place in _PRODUCTS[call.kernel])
                macs = self._kernel_macs(call, data, weights, self._result(call))
                fixed = any(call.arguments[place] in self._fixed for place in _PRODUCTS[call.kernel])
                found.append(Product(call.kernel, macs, fixed, False, fixed))
            elif call.kernel in _TABLES:
                stored = not self._tensor(call, _TABLES[call.kernel]).type.startswith(("float", "bfloat"))
                found.append(Product(call.kernel, 0, True, stored, not stored))
        return found

    @cached_property
    def _fixed(self) -> set[int]:
        """Places of constants, and of what kernels make of constants alone (weights that are turned in every run)."""
        known = {place for place, tensor in enumerate(self.program.values) if tensor is not None and tensor.constant}
        for call in self.kernels:
            *sources, result = [a for a in call.arguments if self.program.values[a] is not None] or [-1]
            if sources and all(place in known for place in sources if place != result):
                known.add(result)
        return known

    def _tensor(self, call: Call, place: int) -> Tensor:
        found = self.program.values[call.arguments[place]] if place < len(call.arguments) else None
        return found if found is not None else Tensor((), "float32", 0)

    def _result(self, call: Call) -> Tensor:
        return next(
            (t for a in reversed(call.arguments) if (t := self.program.values[a]) is not None), Tensor((), "float32", 0)
        )

    def _kernel_macs(self, call: Call, data: Tensor, weights: Tensor, result: Tensor) -> int:
        """Multiply-accumulates of a portable kernel, from the shapes of its tensors."""
        if not (data.shape and weights.shape and result.shape):
            return 0
        if call.kernel != "aten::convolution.out":
            return math.prod(result.shape) * data.shape[-1]
        transposed = self.program.switches.get(call.arguments[_TRANSPOSED], False)
        return math.prod((data if transposed else result).shape) * math.prod(weights.shape[1:])

    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates inside the delegate, and of the whole program, those between activations too."""
        inside = sum(p.macs for p in self.in_delegate)
        return inside, inside + sum(p.macs for p in self.in_kernels)

    def audit(self, inputs: tuple[IOTensor, ...], outputs: tuple[IOTensor, ...]) -> Audit:
        """Count everything."""
        elements, sizes = self._weights()
        return Audit(
            inputs=inputs,
            outputs=outputs,
            weight_bytes=sizes,
            weight_elements=elements,
            activation_types=self._activations(),
            ops_total=len(self.delegated) + len(self.kernels),
            ops_quantized=sum(node.integer for node in self.delegated),
            **products.count([*self.in_delegate, *self.in_kernels]),
            transposes=sum(node.type == "StaticTranspose" for node in self.delegated)
            + sum(call.kernel in _TRANSPOSES for call in self.kernels),
            ops_delegated=len(self.delegated),
            findings=tuple(dict.fromkeys(self._findings())),
        )

    def _weights(self) -> tuple[dict[str, int], dict[str, int]]:
        """Elements and bytes of constants per type; a constant that several operators share counts once."""
        found: dict[object, tuple[str, int, int]] = {}
        for node in self.delegated:
            for value in node.inputs:
                if value.constant is not None and value.shape:
                    size = math.ceil(value.elements * value.bytes_each)
                    found[value.key] = (value.type, value.elements, size)
        for call in self.program.calls:
            for place in call.arguments:
                tensor = self.program.values[place]
                if tensor is not None and tensor.constant and tensor.shape and tensor.type not in ("int64", "bool"):
                    count = math.prod(tensor.shape)
                    found[tensor.constant] = (tensor.type, count, count * np.dtype(tensor.type).itemsize)
        elements: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for name, count, size in found.values():
            elements[name] += count
            sizes[name] += size
        return dict(sorted(elements.items())), dict(sorted(sizes.items()))

    def _activations(self) -> dict[str, int]:
        """Results of operators per element type."""
        results = [node.output.type for node in self.delegated] + [self._result(c).type for c in self.kernels]
        return dict(sorted(Counter(results).items()))

    def _findings(self) -> Iterator[str]:
        for delegate in self.program.delegates:
            if delegate.id != xnnpack.ID:
                yield f"a part of the program is for {delegate.id}, which does not run here"
        for i, nodes in enumerate(self.nodes):
            for j, node in enumerate(nodes):
                for value in (*node.inputs, node.output):
                    if not all(0 < scale < math.inf for scale in value.scales):
                        yield f"{node.type}:{i}/{j} has a scale that is zero, negative or not finite"
                    if not _finite(value):
                        yield f"{node.type}:{i}/{j} has weights that hold NaN or infinity"


def _finite(value: xnnpack.Value) -> bool:
    """Whether stored floats are numbers."""
    if value.constant is None or value.type not in ("float32", "float16"):
        return True
    stored = np.frombuffer(value.constant, np.dtype(value.type).newbyteorder("<"), value.elements)
    return bool(np.isfinite(stored).all())
