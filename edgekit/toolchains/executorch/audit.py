"""What is really inside a .pte file, the XNNPACK delegates' payloads included; nothing is executed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.result import IO, Inspected
from edgekit.scheme import Kind
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Product, Weights
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
#: What only moves or converts numbers: operators of the delegate, and kernels without their overload.
_MOVING_NODES = frozenset((
    "Convert", "Copy", "StaticTranspose", "StaticReshape", "StaticSlice", "StaticConstantPad", "Concatenate2",
    "Concatenate3", "Concatenate4", "Concatenate5",
))  # fmt: skip
_MOVING_KERNELS = frozenset(
    f"aten::{name}"
    for name in (
        "permute_copy", "transpose_copy", "t_copy", "view_copy", "slice_copy", "select_copy", "cat", "stack", "clone",
        "split_copy", "split_with_sizes_copy", "unbind_copy", "_to_copy", "constant_pad_nd", "expand_copy", "repeat",
        "squeeze_copy", "unsqueeze_copy", "index", "index_select", "gather", "flip", "full", "full_like", "embedding",
        "pixel_shuffle", "pixel_unshuffle", "as_strided_copy", "copy", "scatter", "slice_scatter", "select_scatter",
    )
)  # fmt: skip
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


def tensors(file: Path, program: Program, entry: str | None = None) -> tuple[tuple[IO, ...], tuple[IO, ...]]:
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
        tuple(IO(name=n, shape=t.shape, dtype=t.type) for n, t in zip(names[side], found[side], strict=True))
        for side in found
    )
    return inputs, outputs


def audit(file: Path, entry: str | None = None) -> Inspected:
    """Count what a file holds and check it statically; see ``Audit``.

    Operators inside the delegate and kernels outside count alike; the kernels compute in float. The body of a loop, of
    which a program holds jumps between its instructions alone, is counted once.

    Raises:
        DamagedFileError: the file is not a whole .pte, or not the one that the names beside it were written for.
    """
    contents = inspect(file, entry)
    inputs, outputs = tensors(file, contents.program, entry)
    return contents.audit(inputs, outputs).model_copy(update={"entries": contents.program.methods})


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
    def disagreeing(self) -> list[str]:
        """Operators, each with its delegate and place, of integers on one side only, or that move them to other scales.

        The runtime refuses a file with one of them, and does not say which.
        """
        return [
            f"{node.type} {number}/{place}"
            for number, nodes in enumerate(self.nodes)
            for place, node in enumerate(nodes)
            if node.type != "Convert" and not node.agrees
        ]

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
                    fixed = any(v.constant is not None for v in node.inputs[:2])
                    weights = partial(_of_node, node) if fixed else None
                    found.append(Product(node.type, f"{i}/{j}", _kind(node), node.macs, node.integer, weights))
        return found

    @cached_property
    def in_kernels(self) -> list[Product]:
        """Those outside, and lookups in tables."""
        found = []
        for number, call in enumerate(self.kernels):
            if call.kernel in _PRODUCTS:
                data, weights = (self._tensor(call, place) for place in _PRODUCTS[call.kernel])
                macs = self._kernel_macs(call, data, weights, self._result(call))
                fixed = any(call.arguments[place] in self._fixed for place in _PRODUCTS[call.kernel])
                read = partial(self._of_kernel, call) if fixed else None
                found.append(Product(call.kernel, str(number), self._kernel_kind(call), macs, False, read))
            elif call.kernel in _TABLES:
                stored = not self._tensor(call, _TABLES[call.kernel]).type.startswith(("float", "bfloat"))
                read = partial(self._of_table, call)
                found.append(Product(call.kernel, str(number), "embedding", 0, stored, read))
        return found

    def _kernel_kind(self, call: Call) -> Kind:
        """What a portable kernel does."""
        data, weights = (self._tensor(call, place) for place in _PRODUCTS[call.kernel])
        if call.kernel != "aten::convolution.out":
            right = call.arguments[_PRODUCTS[call.kernel][1]]
            return "linear" if right in self._fixed and math.prod(weights.shape[:-2]) == 1 else "matmul"
        if self._transposed(call):
            return "transposed-conv"
        channels = data.shape[1] if len(data.shape) > 1 else 1
        return "depthwise-conv" if weights.shape[1:2] == (1,) and channels > 1 else "conv"

    def _transposed(self, call: Call) -> bool:
        return self.program.switches.get(call.arguments[_TRANSPOSED], False)

    def _of_kernel(self, call: Call) -> list[Weights]:
        """The constants that a portable kernel multiplies with, laid out as ``Layer.shape`` says."""
        found = []
        for order, place in enumerate(_PRODUCTS[call.kernel]):
            if call.arguments[place] not in self._fixed:
                continue
            weights = self._stored(call.arguments[place])
            if call.kernel == "aten::convolution.out":
                if self._transposed(call):
                    channels = (*self._result(call).shape, 0, 0)[1]
                    weights = weights.laid_out(partial(_grouped_filter, channels=channels))
                found.append(weights)
                continue
            if order == 1 and call.kernel != "aten::linear.out":
                weights = weights.laid_out(lambda a: a.swapaxes(-1, -2))
            linear = self._kernel_kind(call) == "linear"
            found.append(products.matrix(weights) if linear else weights._replace(axis=-1))
        return found

    def _of_table(self, call: Call) -> list[Weights]:
        """The table of a lookup; of an integer one scales and zero points follow."""
        rows = self._stored(call.arguments[_TABLES[call.kernel]])._replace(axis=None)
        if "float" in rows.type:
            return [rows]
        scale, point = self._tensor(call, 1), self._tensor(call, 2)
        points = self.program.array(point) if point.constant else np.zeros(1)
        array = self.program.array(self._tensor(call, 0))
        zero = None
        if array is not None and points is not None and points.size in (1, len(array)):
            zero = np.asarray(array == points.reshape(-1, 1))
        return [rows._replace(scales=math.prod(scale.shape), zero=zero)]

    def _stored(self, place: int) -> Weights:
        """A constant, or what kernels make of one in every run: a matrix that they turn."""
        source, turned = place, False
        while source in self._made and not (tensor := self._at(source)).constant:
            call = self._made[source]
            if call.kernel not in _TRANSPOSES or len(tensor.shape) != 2:
                break
            source, turned = call.arguments[0], not turned
        tensor, array = self._at(source), self.program.array(self._at(source))
        zero = None if array is None else np.asarray((array.T if turned else array) == 0)
        return Weights(self._at(place).shape, tensor.type, None if "float" in tensor.type else 1, zero)

    def _at(self, place: int) -> Tensor:
        found = self.program.values[place]
        return found if found is not None else Tensor((), "float32", 0)

    @cached_property
    def _made(self) -> dict[int, Call]:
        """What kernels compute, by its place: the last tensor among their arguments."""
        return {
            next((a for a in reversed(c.arguments) if self.program.values[a] is not None), -1): c for c in self.kernels
        }

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
        return self._at(call.arguments[place]) if place < len(call.arguments) else Tensor((), "float32", 0)

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
        return math.prod((data if self._transposed(call) else result).shape) * math.prod(weights.shape[1:])

    def macs(self) -> tuple[int, int]:
        """Multiply-accumulates inside the delegate, and of the whole program, those between activations too."""
        inside = sum(p.macs for p in self.in_delegate)
        return inside, inside + sum(p.macs for p in self.in_kernels)

    def audit(self, inputs: tuple[IO, ...], outputs: tuple[IO, ...]) -> Inspected:
        """Count everything."""
        elements, sizes = self._weights()
        return Inspected(
            inputs=inputs,
            outputs=outputs,
            weight_bytes=sizes,
            weight_elements=elements,
            activation_types=self._activations(),
            ops_total=len(self.delegated) + len(self.kernels),
            ops_quantized=sum(node.integer for node in self.delegated),
            **products.count([*self.in_delegate, *self.in_kernels]),
            ops_float=self._in_float(),
            transposes=sum(node.type == "StaticTranspose" for node in self.delegated)
            + sum(call.kernel in _TRANSPOSES for call in self.kernels),
            ops_delegated=len(self.delegated),
            findings=tuple(dict.fromkeys(self._findings())),
        )

    def _in_float(self) -> dict[str, int]:
        """Operators that compute with float numbers, by type: all but those in integers, and those that only move."""
        nodes = (
            n.type for n in self.delegated if n.type not in _MOVING_NODES and not n.integer and _floating(n.output)
        )
        kernels = (
            call.kernel
            for call in self.kernels
            if call.kernel.startswith("aten::")  # others quantize, or order axes
            and call.kernel.partition(".")[0] not in _MOVING_KERNELS
            and _floating(self._result(call))
        )
        return dict(sorted(Counter((*nodes, *kernels)).items()))

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
                    stored = _floats(value)
                    if np.isnan(stored).any():
                        yield f"{node.type}:{i}/{j} has weights that hold NaN"
                    elif node.macs and value in node.inputs[:2] and np.isinf(stored).any():  # a mask may
                        yield f"{node.type}:{i}/{j} has weights that hold infinity"


def _floating(result: xnnpack.Value | Tensor) -> bool:
    return result.type.startswith(("float", "bfloat"))


def _kind(node: xnnpack.Node) -> Kind:
    """What an operator of a delegate does."""
    filled = node.inputs[1]
    match node.type:
        case "DepthwiseConv2d":
            return "depthwise-conv" if node.channels[0] > 1 else "conv"
        case "Conv2d":
            return "depthwise-conv" if filled.shape[-1:] == (1,) and node.groups > 1 else "conv"
        case "ConvTranspose2d":
            return "transposed-conv"
        case "FullyConnected":
            return "linear"
    single = filled.constant is not None and math.prod(filled.shape[:-2]) == 1
    return "linear" if single and node.type == "BatchMatrixMultiply" else "matmul"


def _of_node(node: xnnpack.Node) -> list[Weights]:
    """The constants among an operator's factors, laid out as ``Layer.shape`` says."""
    found = []
    for order, value in enumerate(node.inputs[:2]):
        if value.constant is None:
            continue
        weights = Weights(value.shape, value.type, value.scale_count, value.zero())
        match node.type:
            case "DepthwiseConv2d":
                weights = weights.laid_out(partial(np.transpose, axes=(3, 0, 1, 2)))
            case "Conv2d" | "ConvTranspose2d":
                weights = weights.laid_out(partial(np.transpose, axes=(0, 3, 1, 2)))
            case "BatchMatrixMultiply":
                weights = weights.laid_out(lambda a: a.swapaxes(-1, -2), -1) if order else weights._replace(axis=-1)
                weights = products.matrix(weights) if _kind(node) == "linear" else weights
            case "ScaledDotProductAttention":
                weights = weights._replace(axis=None)
        found.append(weights)
    return found


def _grouped_filter(a: NDArray[np.bool_], channels: int) -> NDArray[np.bool_]:
    """A transposed convolution's filter, which makes so many channels."""
    return products.transposed_filter(a, channels // a.shape[1])


def _floats(value: xnnpack.Value) -> NDArray[np.floating]:
    """What is stored of a value as floats; empty where nothing is."""
    if value.constant is None or value.type not in ("float32", "float16"):
        return np.empty(0, np.float32)
    return np.frombuffer(value.constant, np.dtype(value.type).newbyteorder("<"), value.elements)
