"""Scales and zero points in an ONNX file: of what its quantizing and dequantizing operators take."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, numpy_helper

from edgekit.toolchains import Scaled
from edgekit.toolchains.onnx.graph import load

_OPERATORS = ("QuantizeLinear", "DequantizeLinear")
_PAIR = "_QuantizeLinear_Input"


def read(file: Path, entry: str | None = None) -> tuple[Scaled, ...]:
    """Every tensor of the main graph that a Q or DQ with constant scales takes, once each, in the file's order."""
    graph = load(file).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    behind = {name for node in graph.node if node.op_type == "QuantizeLinear" for name in node.output}
    found: dict[str, Scaled] = {}
    for node in graph.node:
        if node.op_type not in _OPERATORS or node.input[1] not in stored or node.input[0] in behind:
            continue
        scales = numpy_helper.to_array(stored[node.input[1]]).reshape(-1)
        point = stored.get(node.input[2]) if len(node.input) > 2 else None
        points = numpy_helper.to_array(point).reshape(-1) if point is not None else [0]
        typed = stored.get(node.input[0], point)
        settings = {attribute.name: attribute.i for attribute in node.attribute}
        name = node.input[0].removesuffix(_PAIR)
        found[name] = Scaled(
            name=name,
            # Without a zero point the standard quantizes to uint8.
            type="uint8" if typed is None else TensorProto.DataType.Name(typed.data_type).lower(),
            constant=node.input[0] in stored,
            scales=tuple(map(float, scales)),
            zero_points=tuple(map(int, points)),
            axis=settings.get("axis", 1) if scales.size > 1 else None,
            block=settings.get("block_size", 0),
        )
    return tuple(found.values())
