"""Names of values and nodes in an ONNX graph and the bodies of its control flow."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

import onnx


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all bodies of its control flow."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


#: What TensorFlow puts before a layer's name: the functions that it was called through, and the model's name.
_CALLS = re.compile(r"^(?:(?:Stateful)?PartitionedCall/)+(?:[^/]+/(?=[^/]+/))?")


def shorten(graph: onnx.GraphProto) -> None:
    """Leave out of all names what TensorFlow puts before the layer's; a name that is taken then stays as it was.

    Each tensor is named by several nodes, and by the scales that a quantizer adds: with the calls before them, names
    were half of an int8 LeNet-5.
    """
    used = {value for inner in graphs(graph) for node in inner.node for value in (*node.input, *node.output)}
    used |= {value.name for inner in graphs(graph) for value in (*inner.input, *inner.output, *inner.initializer)}
    names: dict[str, str] = {}
    for old in sorted(used, key=lambda name: (len(name), name)):  # a layer's output comes before its weights
        short = _CALLS.sub("", old).removesuffix(":0")
        new = next((n for n in (short.removesuffix("/ReadVariableOp"), short) if n and n not in used), None)
        if new:
            names[old] = new
            used.add(new)
    rename(graph, names)
    nodes: set[str] = set()
    for inner in graphs(graph):
        for node in inner.node:
            short = _CALLS.sub("", node.name)
            node.name = node.name if short in nodes else short
            nodes.add(node.name)


#: tf2onnx numbers what it adds by one counter of the whole process, goes over sets, and sorts nodes by their names: in
#: each process, nodes and constants come in another order, and another one of equal constants keeps its name.
_NUMBERED = re.compile(r"__\d+$")


def number(graph: onnx.GraphProto) -> None:
    """Number what tf2onnx added anew, by the graph alone; constants in the order in which nodes read them."""
    for inner in graphs(graph):
        _sort(inner)
    read = list(dict.fromkeys(value for inner in graphs(graph) for node in inner.node for value in node.input))
    place = {name: index for index, name in enumerate(read)}
    kept = sorted(graph.initializer, key=lambda tensor: place.get(tensor.name, len(place)))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    numbered = [tensor.name for tensor in kept if _NUMBERED.search(tensor.name)]
    names = {old: f"const_{index}" for index, old in enumerate(numbered)}
    nodes = [node for inner in graphs(graph) for node in inner.node]
    made = [value for node in nodes for value in node.output]
    rename(graph, names | _unnumbered(made, {*place, *made, *names.values()}))
    called = _unnumbered([node.name for node in nodes], {node.name for node in nodes})
    for node in nodes:
        node.name = called.get(node.name, node.name)


def _sort(graph: onnx.GraphProto) -> None:
    """Order nodes by what the outputs need, first inputs first; nodes that no output needs come last."""
    nodes = list(graph.node)
    made_by = {value: index for index, node in enumerate(nodes) for value in node.output}
    order: dict[int, None] = {}
    stack = [made_by[output.name] for output in reversed(graph.output) if output.name in made_by]
    while stack:
        index = stack[-1]
        needed = [made_by[v] for v in _reads(nodes[index]) if v in made_by and made_by[v] not in order]
        if index not in order and needed:
            stack += reversed(needed)
        else:
            order[stack.pop()] = None
    order |= dict.fromkeys(range(len(nodes)))
    del graph.node[:]
    graph.node.extend(nodes[index] for index in order)


def _reads(node: onnx.NodeProto) -> list[str]:
    """Values that a node reads, itself or in the bodies of its control flow."""
    found = list(node.input)
    for body in (body for a in node.attribute if a.type == onnx.AttributeProto.GRAPH for body in graphs(a.g)):
        found += [value for inner in body.node for value in inner.input] + [output.name for output in body.output]
    return found


def _unnumbered(names: list[str], taken: set[str]) -> dict[str, str]:
    """What each numbered name is called: without the number, or counted in the order of ``names`` where taken."""
    found: dict[str, str] = {}
    for old in names:
        if _NUMBERED.search(old) and old not in found:
            plain = _NUMBERED.sub("", old)
            candidates = itertools.chain([plain], (f"{plain}_{i}" for i in itertools.count(1)))
            found[old] = next(name for name in candidates if name and name not in taken)
            taken.add(found[old])
    return found


def rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values wherever they occur; an inner value that already has a new name steps aside."""
    mapping = dict(names)
    taken = {v for node in graph.node for v in (*node.input, *node.output)} | {t.name for t in graph.initializer}
    for new in names.values():
        if new in taken and new not in names:
            mapping[new] = f"{new}/inner"
    for inner in graphs(graph):
        for node in inner.node:
            node.input[:] = [mapping.get(v, v) for v in node.input]
            node.output[:] = [mapping.get(v, v) for v in node.output]
        for value in (*inner.input, *inner.output, *inner.value_info, *inner.initializer):
            value.name = mapping.get(value.name, value.name)
