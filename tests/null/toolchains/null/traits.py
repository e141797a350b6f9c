"""A file of dense layers as the graph that traits are found in."""

from __future__ import annotations

from edgekit.toolchains.null import session

from edgekit.toolchains._shared.traits import Graph, Node


def graph(file):
    inputs, outputs, layers, _ = session.read(file)
    values = [inputs[0], *(f"value{i}" for i in range(1, len(layers))), outputs[0]]
    nodes = [Node("matmul", "DENSE", (values[i], f"kernel{i}"), (values[i + 1],)) for i in range(len(layers))]
    return Graph(tuple(nodes), {f"kernel{i}": layer[0] for i, layer in enumerate(layers)})
