"""A .pte program with its delegates' payloads as the graph that traits are found in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.toolchains._shared.traits import Graph, Node, by_op
from edgekit.toolchains.executorch import xnnpack
from edgekit.toolchains.executorch.audit import Contents, inspect, tensors
from edgekit.toolchains.executorch.program import Call, Program

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Constants = dict[str, NDArray[np.generic] | str]

#: Operators of the delegate, and kernels of the portable library without their namespace and overload.
_KINDS = by_op({
    "matmul": ("FullyConnected", "BatchMatrixMultiply", "linear", "addmm", "mm", "bmm"),
    "conv": ("Conv2d", "DepthwiseConv2d", "convolution"),
    "conv_transpose": ("ConvTranspose2d",),
    "attention": ("ScaledDotProductAttention",),
    "softmax": ("Softmax", "_softmax"),
    "sigmoid": ("Sigmoid", "sigmoid"),
    "multiply": ("Multiply", "mul"),
    "move": (
        "StaticTranspose", "StaticReshape", "StaticSlice", "StaticConstantPad", "Copy", "Convert",
        "Concatenate2", "Concatenate3", "Concatenate4", "Concatenate5", "view_copy", "permute_copy",
        "transpose_copy", "t_copy", "select_copy", "slice_copy", "split_copy", "split_with_sizes_copy",
        "squeeze_copy", "unsqueeze_copy", "expand_copy", "unbind_copy", "cat", "stack", "clone",
        "_clone_dim_order", "_to_dim_order_copy", "_to_copy", "where", "constant_pad_nd",
    ),
})  # fmt: skip


def graph(file: Path) -> Graph:
    """Read a file; inputs and outputs are called by the names beside it. Raises ``DamagedFileError``."""
    contents = inspect(file)
    program = contents.program
    named = dict(zip(program.inputs, (t.name for t in tensors(file, program)[0]), strict=False))
    constants: Constants = {}
    nodes = list(_nodes(contents, named, constants))
    outputs = zip(program.outputs, (t.name for t in tensors(file, program)[1]), strict=False)
    nodes += [Node("move", "output", (_place(program, place, named, constants),), (name,)) for place, name in outputs]
    return Graph(tuple(nodes), constants)


def _nodes(contents: Contents, named: Mapping[int, str], constants: Constants) -> Iterator[Node]:
    for number, call in enumerate(contents.program.calls):
        if call.delegate is None:
            yield _kernel(contents.program, call, named, constants)
            continue
        places = [_place(contents.program, place, named, constants) for place in call.arguments]
        for node in contents.nodes[call.delegate]:
            inputs = tuple(_inside(value, number, places, constants) for value in node.inputs)
            output = _inside(node.output, number, places, constants)
            kind = _KINDS.get(node.type, "other")
            yield Node(kind, node.type, inputs, (output,), node.groups, node.channels[0])


def _inside(value: xnnpack.Value, call: int, places: list[str], constants: Constants) -> str:
    """The name of a value of a delegate, which is the program's where it comes from there or goes there."""
    if value.argument is not None:
        return places[value.argument]
    name = f"{call}/{value.number}"
    if value.constant is not None:
        stored = np.frombuffer(value.constant, np.uint8)
        if value.type in ("float32", "float16"):
            dtype = np.dtype(value.type).newbyteorder("<")
            stored = stored[: value.elements * dtype.itemsize].view(dtype).reshape(value.shape)
        constants[name] = stored
    return name


def _place(program: Program, place: int, named: Mapping[int, str], constants: Constants) -> str:
    name = named.get(place, str(place))
    tensor = program.values[place]
    if tensor is not None and tensor.constant:
        constants[name] = f"stored tensor {tensor.constant}"  # equal ones are stored once
    return name


def _kernel(program: Program, call: Call, named: Mapping[int, str], constants: Constants) -> Node:
    """A kernel's arguments end with what it writes, and once more with what it returns."""
    op = call.kernel.split("::")[-1].split(".")[0]
    places = [p for place in call.arguments for p in program.lists.get(place, (place,))]
    last = call.arguments[-1]
    written = program.lists.get(last, (last,))
    read = [p for p in places if p not in written and program.values[p] is not None]
    if op == "addmm":  # the bias comes first
        read = [*read[1:], read[0]]
    inputs = tuple(_place(program, place, named, constants) for place in read)
    return Node(_KINDS.get(op, "other"), op, inputs, tuple(str(place) for place in written))
