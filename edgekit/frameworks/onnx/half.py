"""ONNX graphs in float16 or bfloat16, computed in float32: as the half-precision models of other frameworks are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.sources.onnx_file.parts import nodes, tensors

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx",)

_FLOAT = onnx.TensorProto.FLOAT
_HALVES: dict[int, str] = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
#: Attributes that name an element type.
_TYPES = ("to", "dtype", "stash_type", "softmax_precision", "output_dtype")


def widened(model: onnx.ModelProto) -> tuple[str, ...]:
    """Make all of a graph's half-precision numbers float32, in place; returns what was done, a sentence each.

    Casts to a half become casts to float32, so that no value is rounded on its way.
    """
    found = {_HALVES[tensor.data_type] for tensor in tensors(model.graph) if tensor.data_type in _HALVES}
    for kind in _types(model.graph):
        if kind.elem_type in _HALVES:
            found.add(_HALVES[kind.elem_type])
            kind.elem_type = _FLOAT
    for node in nodes(model.graph):
        for attribute in node.attribute:
            if attribute.name in _TYPES and attribute.type == attribute.INT and attribute.i in _HALVES:
                found.add(_HALVES[attribute.i])
                attribute.i = _FLOAT
    if not found:
        return ()
    for tensor in tensors(model.graph):
        if tensor.data_type in _HALVES:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), name))
    kinds = " and ".join(sorted(found))
    return (f"The model holds {kinds}: it is converted, and compared with its file, in float32.",)


def _types(graph: onnx.GraphProto) -> Iterator[onnx.TypeProto.Tensor]:
    """The types that a graph and its bodies say of their values."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield from _inner(value.type)
    for node in graph.node:
        for attribute in node.attribute:
            yield from _inner(attribute.tp)
            for body in (attribute.g, *attribute.graphs):
                yield from _types(body)


def _inner(kind: onnx.TypeProto) -> Iterator[onnx.TypeProto.Tensor]:
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        yield kind.tensor_type
    elif which in ("sequence_type", "optional_type"):
        yield from _inner(getattr(kind, which).elem_type)
