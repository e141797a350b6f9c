"""A file of dense layers as the graph that traits are found in."""

from __future__ import annotations

from edgekit.toolchains.null import session

from edgekit.toolchains._shared.traits import Graph, Node


def graph(file):
    layers = session.read(file)[2]
    nodes = (Node("matmul", "DENSE", (f"x{i}", f"kernel{i}"), (f"x{i + 1}",)) for i in range(len(layers)))
    return Graph(tuple(nodes), {f"kernel{i}": layer[0] for i, layer in enumerate(layers)})
