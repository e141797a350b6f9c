"""Fake quantization of activations: a model's graph in which values lie on the steps that a file has for them.

Which values are quantized is read off a file of the target, not guessed: each toolchain has rules of its own. A tensor
of the file is the value of the graph that is equal to it on the same samples; names and layouts differ from format to
format, the numbers do not. The graph has the model's own tensors, and BatchNorm with its running statistics, as files
have it, so that it trains the model itself. Gradients pass where a value lies within its range (the straight-through
estimator with clipping, as PyTorch's operator has it).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from edgekit.compress import biases
from edgekit.compress.fakequant import steps_of
from edgekit.compress.graph import Graph
from edgekit.errors import UnsupportedError
from edgekit.frameworks.loaded import Loaded, named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.frameworks import LoadedModel
    from edgekit.scheme import Range

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: How far the values of a tensor may be from those of the graph, relative to their size: both compute in float32.
_EQUAL = 1e-3
#: Values that are as close as this are equally close.
_CLOSEST = 1e-5


def places(
    model: LoadedModel, samples: Sequence[Sequence[NDArray[Any]]], tensors: Mapping[str, Sequence[NDArray[Any]]]
) -> dict[str, str]:
    """The nodes of a model's graph that are the tensors of a file, by the tensors' names; some have none.

    Args:
        model: of PyTorch, or of Keras on the torch backend.
        samples: each the arrays of one call, in the signature's order.
        tensors: by name the values on each of these samples, in any layout.
    """
    graph = Graph(model, apart=True)
    wanted = {name: np.concatenate([np.sort(v, axis=None) for v in values]) for name, values in tensors.items()}
    sizes = {len(values) for values in wanted.values()}
    closest: dict[str, tuple[float, str]] = {}
    with torch.no_grad():
        states = graph.started(samples)
        for node in graph.nodes:
            for state in states:
                state.run(node)
            if node.op not in ("placeholder", "get_attr", "call_function"):
                continue
            values = [state.value(node) for state in states]
            if not all(torch.is_tensor(v) and v.is_floating_point() for v in values):
                continue
            if sum(v.numel() for v in values) not in sizes:
                continue
            found = np.concatenate([np.sort(v.detach().numpy(), axis=None) for v in values])
            for name, expected in wanted.items():
                far = _distance(found, expected)
                best = closest.get(name, (_EQUAL, ""))[0]
                if far < best and best > _CLOSEST:  # of equals the first: what others move about
                    closest[name] = (far, node.name)
    return {name: node for name, (_, node) in closest.items()}


def _distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """How far sorted values are from others, relative to their size."""
    if len(found) != len(expected):
        return np.inf
    size = float(np.linalg.norm(expected.astype(np.float64)))
    return float(np.linalg.norm(found.astype(np.float64) - expected)) / (size or 1.0)


def on_steps(
    model: LoadedModel, ranges: Mapping[str, Range], batch: int, largest: biases.Largest = lambda _: None
) -> fx.GraphModule:
    """The model's graph with the values of some nodes rounded to the steps of their ranges, and biases to theirs.

    Args:
        model: of PyTorch, or of Keras on the torch backend.
        ranges: by the nodes' names; what they are ``unrounded`` for reads the values as they were.
        batch: samples of each call.
        largest: which layers' biases are integers in the file, see ``biases.of_files``; by default none.

    Raises:
        UnsupportedError: the model takes one sample at a time, or its graph of several is another one.
    """
    if isinstance(model, Loaded) and model.batch == 1:
        raise UnsupportedError("the model takes one sample at a time")
    graph = Graph(model, batch, apart=True)
    if missing := sorted(set(ranges) - {node.name for node in graph.nodes}):
        raise UnsupportedError(f"the graph of {batch} samples has no {missing[0]!r}, which that of one has")
    ranges = {**_of_equal_constants(graph, ranges), **ranges}
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    found = list(biases.find(graph, ranges, largest))
    module = graph.on_own_tensors()
    ways = {name: _way(graph, name, ranges) for name, one in ranges.items() if one.unrounded}
    biased = dict(biases.insert(module, one) for one in found)  # results, and what they became
    for original in graph.nodes:
        one = ranges.get(original.name)
        if one is None:
            continue
        node = biased.get(original, original)
        behind = last if node.op == "placeholder" else node
        with module.graph.inserting_after(behind):
            rounded = module.graph.call_function(torch.fake_quantize_per_tensor_affine, (node, *steps_of(one)))
        biases.replace(node, rounded)
        for reader in [r for r in ways.get(original.name, ()) if r.name in one.unrounded]:
            _read_unrounded(reader, rounded, node, ways[original.name])
    module.recompile()
    return module


def _of_equal_constants(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges of constants that the graph has several times, as Keras has sines in each layer.

    All of a file's go to one of these, by their values.
    """
    attributes = [node for node in graph.nodes if node.op == "get_attr"]
    constants = {node.name: t for node in attributes if torch.is_tensor(t := graph.tensor(str(node.target)))}
    return {
        name: ranges[first]
        for first in constants.keys() & ranges.keys()
        for name, t in constants.items()
        if t.dtype == constants[first].dtype and torch.equal(t, constants[first])
    }


def _way(graph: Graph, name: str, ranges: Mapping[str, Range]) -> set[fx.Node]:
    """What lies on the way from a value to the results that are computed of it unrounded, and these.

    What has a range of its own is read in integers, so that no way leads through it.
    """
    found, rest = set[fx.Node](), [node for node in graph.nodes if node.name in ranges[name].unrounded]
    while rest:
        node = rest.pop()
        found.add(node)
        rest += [one for one in node.all_input_nodes if one.name not in ranges and one not in found]
    return found


def _read_unrounded(reader: fx.Node, rounded: fx.Node, value: fx.Node, way: Collection[fx.Node]) -> None:
    """Compute a result of a value as it was.

    A file may have in one operator what are several here. Others read these, too, and have the rounded value: the
    result gets copies of its own.
    """
    as_it_was, nodes = {rounded: value}, list(reader.graph.nodes)
    for node in nodes[nodes.index(rounded) + 1 : nodes.index(reader)]:
        if node in way and any(one in as_it_was for one in node.all_input_nodes):
            with node.graph.inserting_before(reader):
                as_it_was[node] = node.graph.node_copy(node, lambda one: as_it_was.get(one, one))
    for before, after in as_it_was.items():
        reader.replace_input_with(before, after)


def as_loaded(model: LoadedModel, module: fx.GraphModule, batch: int) -> Loaded:
    """The model as ``on_steps`` made it, to be run as any other."""
    assert isinstance(model, Loaded)

    def call(arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        count = len(arrays[0])
        # The graph takes so many samples and no fewer.
        whole = [np.concatenate([a, a[-1:].repeat(batch - count, axis=0)]) for a in arrays]
        with torch.no_grad():
            returned = module(*map(torch.from_numpy, whole))
        return [t.numpy()[:count] for _, t in named(returned, torch.is_tensor)]

    return replace(model, call=call, most=batch, probed=False)
