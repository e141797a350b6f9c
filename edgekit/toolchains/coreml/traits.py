"""An ML Program as the graph that traits are found in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.mil.package import read
from edgekit.mil.program import Block, Operation, Program
from edgekit.mil.program import read as read_program
from edgekit.toolchains._shared.traits import Body, Graph, Node, by_op

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = by_op({
    "matmul": ("matmul", "linear", "einsum"),
    "conv": ("conv",),
    "conv_transpose": ("conv_transpose",),
    "cell": ("lstm", "gru", "rnn"),
    "attention": ("scaled_dot_product_attention",),
    "softmax": ("softmax",),
    "sigmoid": ("sigmoid", "sigmoid_hard"),
    "multiply": ("mul",),
    "loop": ("while_loop",),
    "branch": ("cond",),
    "move": (
        "identity", "cast", "reshape", "squeeze", "expand_dims", "transpose", "slice_by_index", "slice_by_size",
        "split", "concat", "stack", "tile", "pad", "gather", "select", "list_read", "list_gather",
    ),
})  # fmt: skip
#: Parameters that an operator multiplies; they come first.
_FACTORS = {"x": 0, "y": 1, "weight": 1}


def graph(file: Path) -> Graph:
    """Read a file that was verified before; inputs and outputs are called by the source's names."""
    opened = read(file)
    program = read_program(opened)
    found = of(program)
    names = opened.names
    nodes = [
        Node(**{**vars(n), "inputs": _named(n.inputs, names), "outputs": _named(n.outputs, names)}) for n in found.nodes
    ]
    return Graph(tuple(nodes), found.constants)


def of(program: Program) -> Graph:
    """A program, by its own names."""
    constants = {name: np.asarray(value) for name, value in program.constants.items() if not isinstance(value, str)}
    return _block(program.block, program, constants)


def _named(values: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(value, value) for value in values)


def _block(block: Block, program: Program, constants: Mapping[str, NDArray[np.generic]]) -> Graph:
    return Graph(tuple(_node(operation, program) for operation in block.operations), constants)


def _node(operation: Operation, program: Program) -> Node:
    ordered = sorted(operation.inputs, key=lambda key: _FACTORS.get(key, 2))
    groups, channels = 1, 0
    if operation.type in ("conv", "conv_transpose"):
        stated = operation.inputs.get("groups")
        groups = int(program.constants[stated[0]]) if stated else 1
        channels = program.types[operation.inputs["x"][0]].shape[1]
    return Node(
        _KINDS.get(operation.type, "other"), operation.type,
        tuple(name for key in ordered for name in operation.inputs[key]),
        tuple(name for name, _ in operation.outputs), groups, channels, tuple(_bodies(operation, program)),
    )  # fmt: skip


def _bodies(operation: Operation, program: Program) -> Iterator[Body]:
    if operation.type == "while_loop":  # the first block decides whether there is another turn
        body = operation.blocks[1]
        given = dict(zip(body.inputs, operation.inputs["loop_vars"], strict=True))
        again = tuple(zip(body.outputs, body.inputs, strict=True))
        yield Body(Graph(_block(body, program, {}).nodes, {}, again), given)
    else:
        yield from (Body(_block(block, program, {})) for block in operation.blocks)
