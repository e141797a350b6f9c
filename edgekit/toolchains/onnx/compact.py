"""Short names for a chosen file: what names take is nearly a third of a small int8 ONNX model.

Until a file is chosen its values and operators keep their names, by which layers are found.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import onnx

from edgekit.toolchains import WORTH, Names
from edgekit.toolchains.onnx.passes.names import graphs, rename
from edgekit.toolchains.onnx.passes.sharing import PAIRS, parameters

#: Share of a file from which on the names of what was not added by a quantizer are worth shortening.
NAMES_SHARE = 0.05
#: What ONNX Runtime's quantizer and ours call the values that they add, and the nodes.
ADDED_VALUES = (
    "_quantized", "_quantized_cast_output", "_quant_scales_mul:0", "/quantized", "/dequantized", "/cast", "/restored",
)  # fmt: skip
ADDED_NODES = ("_quantized_cast", "_quant_scales_mul", "_quant_output_scale_mul", "_QuantizeLinear")


def compact(file: Path, folder: Path) -> Names | None:
    """Write a file under short names into a folder; nothing, where its names are short enough."""
    model = onnx.load(file)
    before = [(node, node.name, list(node.output)) for inner in graphs(model.graph) for node in inner.node]
    tensors = [(tensor, tensor.name) for inner in graphs(model.graph) for tensor in inner.initializer]
    name_shortly(model.graph)
    values = {tensor.name: name for tensor, name in tensors if tensor.name != name}
    values |= {new: old for node, _, names in before for new, old in zip(node.output, names, strict=True) if new != old}
    operators = {node.output[0]: name for node, name, _ in before if node.name != name}
    content = model.SerializeToString(deterministic=True)
    if len(content) > (1 - WORTH) * file.stat().st_size:
        return None
    (folder / file.name).write_bytes(content)
    return Names(values, operators)


def name_shortly(graph: onnx.GraphProto) -> None:
    """Shorten names in place; inputs and outputs, weights and operators with weights keep theirs."""
    nodes = [node for inner in graphs(graph) for node in inner.node]
    for node in nodes:
        if node.op_type in PAIRS or node.name.endswith(ADDED_NODES):
            node.name = ""
    _name_parameters(graph)
    _number_added(graph)
    names = sum(len(name) for node in nodes for name in (node.name, *node.input, *node.output))
    if names >= NAMES_SHARE * graph.ByteSize():
        _number_all(graph)


def _name_parameters(graph: onnx.GraphProto) -> None:
    """Number scales and zero points."""
    roles, taken = parameters(graph), _taken(graph)
    names: dict[str, str] = {}
    for tensor in graph.initializer:
        if role := roles.get(tensor.name):
            names[tensor.name] = next(n for i in itertools.count(len(names)) if (n := f"{role}{i}") not in taken)
            taken.add(names[tensor.name])
    rename(graph, names)


def _number_added(graph: onnx.GraphProto) -> None:
    """Number the values that a quantizer added, and give quantized weights the names that the float ones had."""
    fixed = _fixed(graph)
    nodes = [node for inner in graphs(graph) for node in inner.node]
    added = [
        value
        for node in nodes
        for value in node.output
        if value not in fixed and (node.op_type in PAIRS or value.endswith(ADDED_VALUES))
    ]
    kept = _taken(graph) - set(added)
    names = _numbered(added, kept)
    for tensor in graph.initializer:
        short = tensor.name.removesuffix("_quantized").removesuffix("/int8")
        if short not in kept:
            names[tensor.name] = short
            kept.add(short)
    rename(graph, names)


def _number_all(graph: onnx.GraphProto) -> None:
    """Number every value, and name operators with weights alone.

    An unrolled LSTM is hundreds of small operators: names are a good part of the file (targets/REASONS.md#names).
    """
    fixed = _fixed(graph)
    weights = {tensor.name for inner in graphs(graph) for tensor in inner.initializer}
    nodes = [node for inner in graphs(graph) for node in inner.node]
    made = [value for node in nodes for value in node.output if value and value not in fixed]
    rename(graph, _numbered(made, weights | fixed))
    for node in nodes:
        if not weights & set(node.input):
            node.name = ""


def _numbered(values: Iterable[str], taken: set[str]) -> dict[str, str]:
    numbers = (name for i in itertools.count() if (name := f"v{i}") not in taken)
    return dict(zip(values, numbers, strict=False))


def _fixed(graph: onnx.GraphProto) -> set[str]:
    return {value.name for inner in graphs(graph) for value in (*inner.input, *inner.output)}


def _taken(graph: onnx.GraphProto) -> set[str]:
    values = {v for inner in graphs(graph) for node in inner.node for v in (*node.input, *node.output)}
    return values | _fixed(graph) | {tensor.name for inner in graphs(graph) for tensor in inner.initializer}
