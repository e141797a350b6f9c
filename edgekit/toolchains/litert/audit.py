"""What is really inside a .tflite file, read from its tables; nothing is executed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import EdgekitError
from edgekit.result import IO, Inspected
from edgekit.scheme import Kind
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.inputs import unknown_entry
from edgekit.toolchains._shared.products import Product, Weights
from edgekit.toolchains.litert.graph import (
    FLOATS,
    INTEGERS,
    OF_INPUT,
    RECURRENT,
    WEIGHTS,
    Op,
    Subgraph,
    Tensor,
    read_subgraphs,
    read_tensor,
)
from edgekit.toolchains.litert.schema import UNREADABLE, damaged, packed_model

#: Operators whose weights LiteRT's specification wants per output channel, and the axis.
PER_CHANNEL = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}
#: int8 weights are symmetric and a bias is stored at input scale x weight scale: TensorFlow Lite 8-bit
#: quantization specification. The tolerance covers the rounding of float32 scales.
BIAS_TOLERANCE = 1e-3
#: Axes of a filter in the order of ``Layer.shape``: output channels, input channels, the kernel.
_LAYOUT = {
    "CONV_2D": (0, 3, 1, 2), "TRANSPOSE_CONV": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2),
    "CONV_3D": (4, 3, 0, 1, 2), "CONV_3D_TRANSPOSE": (3, 4, 0, 1, 2), "FULLY_CONNECTED": (0, 1),
}  # fmt: skip
#: Operators that change types or move numbers and compute nothing.
NO_ARITHMETIC = frozenset((
    "QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE", "TRANSPOSE", "REVERSE_V2", "SLICE", "STRIDED_SLICE", "SPLIT",
    "SPLIT_V", "PACK", "UNPACK", "CONCATENATION", "GATHER", "GATHER_ND", "EXPAND_DIMS", "SQUEEZE", "TILE",
    "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "BROADCAST_TO",
))  # fmt: skip
#: Operators without an integer kernel in LiteRT 2.3, and those without one for int16 (the lookup in an int8 table
#: gives float numbers).
FLOAT_ONLY = frozenset({"NEG", "EMBEDDING_LOOKUP"})
FLOAT_ONLY_INT16 = FLOAT_ONLY | {"SQUARED_DIFFERENCE"}


def audit(file: Path, entry: str | None = None) -> Inspected:
    """Read the types, weights, operators and multiply-accumulates of a .tflite file, or of one signature of it.

    A DEQUANTIZE of a constant is storage and not an operator: what it feeds computes in float. Operators with int8
    weights and float activations (dynamic range) quantize these when they run, and compute in integers.

    Raises:
        DamagedFileError: the file is not a whole .tflite model.
        UsageError: it has no such signature.
    """
    if not file.is_file():
        raise damaged(file, "there is no such file")
    packed = packed_model(file.read_bytes(), file)
    try:
        names, graphs = entries(packed), list(read_subgraphs(packed))
        if entry is not None and entry not in names:
            raise unknown_entry("signature", file, entry, names)
        chosen = packed.SignatureDefs(names.index(entry) if entry is not None else 0) if names else None
        roots = _roots(graphs) if entry is None or chosen is None else [chosen.SubgraphIndex()]
        return _summary(graphs, roots, *_signature(packed, chosen)).model_copy(update={"entries": tuple(names)})
    except EdgekitError:
        raise
    except UNREADABLE as error:
        raise damaged(file, f"{type(error).__name__}: {error}") from error


def entries(packed: Any) -> list[str]:
    """Names of a file's signatures."""
    return [packed.SignatureDefs(i).SignatureKey().decode() for i in range(packed.SignatureDefsLength())]


def _summary(graphs: list[Subgraph], roots: list[int], inputs: tuple[IO, ...], outputs: tuple[IO, ...]) -> Inspected:
    """What runs where the subgraphs of these numbers do."""
    run = _reached(graphs, roots)
    ops = [op for number in run for op in graphs[number].operators]
    tensors = [tensor for number in run for tensor in graphs[number].tensors]
    in_float = Counter(op.type for op in ops if op.type not in NO_ARITHMETIC and _touches_float(op))
    int16 = any(t.type == "int16" for t in tensors)
    bytes_, elements = Counter[str](), Counter[str]()
    for tensor in _constants(ops):
        elements[tensor.type] += tensor.elements
        bytes_[tensor.type] += 0 if tensor.data is None else tensor.data.nbytes
    return Inspected(
        inputs=inputs,
        outputs=outputs,
        weight_bytes=dict(sorted(bytes_.items())),
        weight_elements=dict(sorted(elements.items())),
        activation_types=dict(sorted(Counter(t.type for t in tensors if t.data is None).items())),
        ops_total=len(ops),
        ops_quantized=sum(_integer_arithmetic(op) for op in ops),
        **products.count([product for root in roots for product in _products(graphs, root)]),
        ops_float=dict(sorted(in_float.items())),
        ops_float_only=tuple(sorted(in_float.keys() & (FLOAT_ONLY_INT16 if int16 else FLOAT_ONLY))),
        transposes=sum(op.type == "TRANSPOSE" for op in ops),
        findings=tuple(dict.fromkeys(_findings(ops, tensors))),
    )


def _constants(ops: list[Op]) -> list[Tensor]:
    """Constants that hold numbers, each buffer once (operators share them); shapes, axes and scalars do not.

    What a loop begins with is no weight: states, and the room for its results.
    """
    found = {}
    for op in (op for op in ops if not op.bodies):
        numbers = (t for t in op.stored if t is not None and t.shape and t.type in INTEGERS | FLOATS)
        bias = op.bias()
        for tensor in [*numbers, *([bias] if bias else [])]:
            if tensor.data is not None:
                found[tensor.buffer] = tensor
    return list(found.values())


def products_of(graphs: list[Subgraph]) -> list[Product]:
    """What multiplies, in all subgraphs that run: the body of a WHILE times its trips, the costlier branch of an IF."""
    return [product for root in _roots(graphs) for product in _products(graphs, root)]


def _roots(graphs: list[Subgraph]) -> list[int]:
    """Numbers of the subgraphs that no other one runs."""
    called = {number for graph in graphs for op in graph.operators for number in op.bodies}
    return [number for number in range(len(graphs)) if number not in called]


def _reached(graphs: list[Subgraph], roots: list[int]) -> list[int]:
    """These subgraphs and all that they run."""
    found, ahead = set[int](), list(roots)
    while ahead:
        if (number := ahead.pop()) not in found:
            found.add(number)
            ahead += [body for op in graphs[number].operators for body in op.bodies]
    return sorted(found)


def _products(graphs: list[Subgraph], number: int) -> Iterator[Product]:
    for op in graphs[number].operators:
        bodies = [list(_products(graphs, body)) for body in op.bodies]
        if op.type == "WHILE":
            trips = _trips(op, *(graphs[i] for i in op.bodies))
            yield from (product.times(trips) for part in bodies for product in part)
        elif bodies:
            yield from max(bodies, key=lambda part: sum(product.macs for product in part))
        elif op.type in WEIGHTS and (kind := _kind(op)) is not None:
            weights = partial(_laid_out, op, kind) if op.weights() else None
            name = op.outputs[0].name if op.outputs else ""
            yield Product(op.type, name, kind, _macs(op), _in_integers(op), weights)


def _kind(op: Op) -> Kind | None:
    """What an operator does; None of those that neither multiply nor look rows up in a table."""
    weights = op.weights()
    if op.type in ("GATHER", "EMBEDDING_LOOKUP"):
        return "embedding" if weights and len(weights[0].shape) > 1 else None
    if not weights and not _macs(op):
        return None
    if op.type in RECURRENT:
        return "recurrent"
    if op.type == "BATCH_MATMUL":
        single = op.stored[0] not in weights and bool(weights) and math.prod(weights[0].shape[:-2]) == 1
        return "linear" if single else "matmul"
    if op.type == "FULLY_CONNECTED":
        return "linear"
    if op.type.startswith(("CONV_3D_T", "TRANSPOSE")):
        return "transposed-conv"
    source, factor = op.inputs[:2]
    alone = factor is None or op.type == "DEPTHWISE_CONV_2D" or factor.shape[-1] == 1
    return "depthwise-conv" if alone and source is not None and source.shape[-1] > 1 else "conv"


def _laid_out(op: Op, kind: Kind) -> list[Weights]:
    """The weights of an operator as ``Layer.shape`` lays them out; of a recurrent layer the matrices alone."""
    found = []
    for place in WEIGHTS[op.type][0]:
        tensor = op.stored[place] if place < len(op.stored) else None
        if tensor is None or not any(tensor is own for own in op.weights()):
            continue
        weights = Weights(tensor.shape, tensor.type, tensor.scale_count, tensor.zero())
        if kind == "recurrent" and len(tensor.shape) == 2:
            found.append(weights._replace(state=place not in OF_INPUT[op.type]))
        elif kind == "embedding":
            found.append(weights._replace(axis=None))
        elif op.type == "BATCH_MATMUL":
            swapped = op.turned[0] if place == 0 else not op.turned[1]
            weights = weights.laid_out(lambda a: a.swapaxes(-1, -2), -1) if swapped else weights._replace(axis=-1)
            found.append(products.matrix(weights) if kind == "linear" else weights)
        elif kind != "recurrent":
            found.append(weights.laid_out(partial(np.transpose, axes=_LAYOUT[op.type])))
    return found


def _trips(op: Op, condition: Subgraph, body: Subgraph) -> int:
    """How often a WHILE runs, by the counters that its condition compares with a constant; 1 where there is none."""
    found = []
    for compared in (o for o in condition.operators if o.type == "LESS"):
        for place, counter in enumerate(condition.inputs):
            if compared.inputs[0] is not counter:
                continue
            steps = [o for o in body.operators if o.type == "ADD" and o.outputs[0] is body.outputs[place]]
            steps = [o for o in steps if o.inputs[0] is body.inputs[place]]
            numbers = [_number(t) for t in (op.inputs[place], *(o.inputs[1] for o in steps), compared.inputs[1])]
            known = [number for number in numbers if number is not None]
            if len(known) == len(numbers) == 3:
                found.append(products.trips(*known))
    return min(found, default=1)


def _number(tensor: Tensor | None) -> int | None:
    """A constant of one integer."""
    if tensor is None or tensor.data is None or tensor.elements != 1 or tensor.type not in ("int32", "int64"):
        return None
    return int(tensor.data.view(f"<i{tensor.data.nbytes}")[0])


def _macs(op: Op) -> int:
    """Multiply-accumulates of one operator; 0 of others than convolutions, matrix products and recurrent cells."""
    factor = op.inputs[1] if len(op.inputs) > 1 else None
    source = op.activation()
    if factor is None or source is None or not op.outputs:
        return 0
    out = op.outputs[0]
    match op.type:
        case "CONV_2D" | "CONV_3D" | "DEPTHWISE_CONV_2D":
            return out.elements // out.shape[-1] * factor.elements
        case "TRANSPOSE_CONV" | "CONV_3D_TRANSPOSE":
            return source.elements // source.shape[-1] * factor.elements
        case "FULLY_CONNECTED":
            return out.elements * factor.shape[-1]
        case "BATCH_MATMUL":
            summed = source.elements // (math.prod(source.shape[:-2]) * out.shape[-2])
            return out.elements * summed
    if op.type in RECURRENT:
        return math.prod(source.shape[:-1]) * sum(t.elements for t in op.weights() if len(t.shape) == 2)
    return 0


def _touches_float(op: Op) -> bool:
    return any(t is not None and t.type in FLOATS for t in (*op.inputs, *op.outputs))


def _integer_arithmetic(op: Op) -> bool:
    """Whether every operand and result that holds numbers is a scaled integer."""
    if op.type in ("QUANTIZE", "DEQUANTIZE") or _touches_float(op):
        return False
    seen = [t for t in (*op.inputs, *op.outputs) if t is not None]
    return any(t.type in INTEGERS and len(t.scales) for t in seen)


def _in_integers(op: Op) -> bool:
    """Whether the kernel multiplies integers: static ones, or int8 weights with activations quantized at run time."""
    direct = [t for t in op.weights() if any(t is i for i in op.inputs)]
    return _integer_arithmetic(op) or (bool(direct) and all(t.type in INTEGERS for t in direct))


def _findings(ops: list[Op], tensors: list[Tensor]) -> Iterator[str]:
    for op in ops:
        if op.custom.startswith("Flex"):
            yield f"{op.custom} needs SELECT_TF_OPS (Flex) and does not run in LiteRT"
        elif op.custom:
            yield f"custom operator {op.custom} does not run in LiteRT without its own kernel"
        yield from _weight_findings(op)
        yield from _bias_findings(op)
    for tensor in tensors:
        if not (np.isfinite(tensor.scales).all() and (tensor.scales > 0).all()):
            yield f"tensor {tensor.name} has a scale that is zero, negative or not finite"


def _weight_findings(op: Op) -> Iterator[str]:
    bias = op.bias()
    for numbers in (*op.weights(), *([bias] if bias else [])):
        if numbers.type == "float32" and numbers.data is not None and not np.isfinite(numbers.data.view("<f4")).all():
            yield f"{op.name}: weights hold NaN or infinity"
    for weights in op.weights():
        if weights.type != "int8":
            continue
        if op.type != "GATHER" and len(weights.zero_points) and weights.zero_points.any():
            yield f"{op.name}: int8 weights have a zero point other than 0"
        axis = PER_CHANNEL.get(op.type)
        if axis is not None and weights.shape[axis] > 1 and len(weights.scales) != weights.shape[axis]:
            yield f"{op.name}: weights have {len(weights.scales)} scales for {weights.shape[axis]} channels"


def _bias_findings(op: Op) -> Iterator[str]:
    """A bias at another scale than input x weight is silently wrong: the kernel adds it to the accumulator as is."""
    bias, source, weights = op.bias(), op.activation(), op.weights()
    if bias is None or source is None or not weights or bias.type not in ("int32", "int64"):
        return
    if bias.data is None or not bias.data.any():
        return  # a bias of zeros is right at any scale, and converters share one between operators
    if not (len(bias.scales) and len(source.scales) and len(weights[0].scales)):
        return
    ratio = bias.scales / (source.scales * weights[0].scales)
    worst = float(np.abs(ratio - 1).max())
    if not worst <= BIAS_TOLERANCE:
        yield f"{op.name}: bias scale differs from input scale x weight scale by {worst:.1%}"


def _signature(packed: Any, signature: Any) -> tuple[tuple[IO, ...], tuple[IO, ...]]:
    """Inputs and outputs by the signature's names; by the tensors' own where the file has no signature."""
    graph = packed.Subgraphs(0)
    if signature is not None:
        graph = packed.Subgraphs(signature.SubgraphIndex())
        pairs_in = [signature.Inputs(i) for i in range(signature.InputsLength())]
        pairs_out = [signature.Outputs(i) for i in range(signature.OutputsLength())]
        return (
            tuple(_io(packed, graph, p.TensorIndex(), p.Name().decode()) for p in pairs_in),
            tuple(_io(packed, graph, p.TensorIndex(), p.Name().decode()) for p in pairs_out),
        )
    return (
        tuple(_io(packed, graph, graph.Inputs(i)) for i in range(graph.InputsLength())),
        tuple(_io(packed, graph, graph.Outputs(i)) for i in range(graph.OutputsLength())),
    )


def _io(packed: Any, graph: Any, index: int, name: str = "") -> IO:
    tensor = read_tensor(packed, graph.Tensors(index))
    scaled = len(tensor.scales) == 1
    return IO(
        name=name or tensor.name,
        shape=tensor.shape,
        dtype=tensor.type,
        scale=float(tensor.scales[0]) if scaled else None,
        zero_point=int(tensor.zero_points[0]) if scaled and len(tensor.zero_points) else (0 if scaled else None),
    )
