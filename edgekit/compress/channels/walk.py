"""A walk through a graph that finds which indices of which stored tensors belong together."""

from __future__ import annotations

import operator as python
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from edgekit.compress.channels import rules
from edgekit.compress.channels.labels import Labels, Why
from edgekit.compress.channels.values import Value, unknown
from edgekit.compress.graph import Graph, operator, shape
from edgekit.frameworks import LoadedModel

if TYPE_CHECKING:
    from edgekit.compress.channels.labels import Axis

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


@dataclass(frozen=True)
class Tensor:
    """A tensor of the model: its name there, itself, labels of its axes."""

    name: str
    own: torch.Tensor
    axes: tuple[Axis, ...]


@dataclass
class Walk:
    """What is known behind the nodes that were walked.

    Attributes:
        labels: of all indices.
        tensors: the model's own that the graph reads, by where they lie.
        produced: labels of axes along which products with stored weights give channels.
        scaled: labels of the scales of norms.
    """

    graph: Graph
    labels: Labels = field(default_factory=Labels)
    tensors: dict[int, Tensor] = field(default_factory=dict)
    produced: list[Axis] = field(default_factory=list)
    scaled: list[Axis] = field(default_factory=list)
    _values: dict[fx.Node, Any] = field(default_factory=dict)

    def value(self, argument: Any) -> Any:
        """What a node gave: one value, or several; None of what is no tensor."""
        return self._values.get(argument) if isinstance(argument, fx.Node) else None

    def here(self, node: fx.Node) -> str:
        """A node, as it is named to a user: the operator, and the layer that it runs in."""
        layers = list((node.meta.get("nn_module_stack") or {}).values())
        layer = layers[-1][0].removeprefix("L['self'].").removeprefix("m.") if layers else ""
        return f"`{operator(node)}`{f' in {layer}' if layer and layer != 'm' else ''}"

    @property
    def scales(self) -> list[Tensor]:
        """The scales of norms by batches; Keras writes these norms out, and calls every scale so."""
        said = {int(label) for axis in self.scaled for label in axis}
        single = [tensor for tensor in self.tensors.values() if len(tensor.axes) == 1 and len(tensor.axes[0])]
        return [t for t in single if int(t.axes[0][0]) in said or t.name.endswith("/gamma")]

    def step(self, node: fx.Node) -> None:
        """Follow one node, the next."""
        if node.op == "placeholder":
            self._values[node] = Value(tuple(np.zeros(n, np.int64) for n in shape(node)), True)
        elif node.op == "get_attr":
            self._values[node] = self._stored(node)
        elif node.op == "output":
            for leaf in tree_leaves(node.args):
                if (given := self.value(leaf)) is not None:
                    self.stay(given, Why("an output of the model"))
        elif node.target is python.getitem:
            of, number = tuple[Any, ...](node.args)
            several = self.value(of)
            self._values[node] = several[number] if isinstance(several, tuple) else several
        else:
            rule = rules.RULES.get(operator(node).rstrip("_"), unknown)
            self._values[node] = rule(self, node)

    def stay(self, value: Any, why: Why) -> None:
        """Have all indices of a value stay."""
        for one in value if isinstance(value, tuple) else (value,):
            for axis in one.axes if one is not None else ():
                self.labels.pin(axis, why)

    def arguments(self, node: fx.Node) -> list[Value]:
        """The values that a node is given, those in lists too."""
        found: list[Value] = []
        for leaf in tree_leaves((node.args, node.kwargs)):
            given = self.value(leaf)
            found += given if isinstance(given, tuple) else [given] if given is not None else []
        return found

    def _stored(self, node: fx.Node) -> Value | None:
        target = str(node.target)
        tensor = self.graph.tensor(target)
        if not torch.is_tensor(tensor):
            return None  # the graph of a branch
        own = self.graph.own(target, tensor)
        if own is None or own.shape != tensor.shape:  # a constant, which nothing can make smaller
            return Value(tuple(self.still(n, target) for n in tensor.shape), False)
        known = self.tensors.get(own.data_ptr())
        if known is None or known.own.shape != own.shape:
            known = Tensor(self.graph.called(own, target), own, tuple(map(self.labels.new, own.shape)))
            self.tensors[own.data_ptr()] = known
        return Value(known.axes, False)

    def still(self, count: int, name: str) -> Axis:
        """Labels of an axis of a constant."""
        axis = self.labels.new(count)
        self.labels.pin(axis, Why(f"the constant {name} has as many", refused=True))
        return axis


def follow(model: LoadedModel) -> Walk:
    """Walk through all that a model computes."""
    graph = Graph(model)
    walk = Walk(graph)
    for node in graph.nodes:
        walk.step(node)
    for tensor in walk.tensors.values():
        if tensor.name.endswith("/recurrent_kernel"):  # of Keras, whose cells are written out
            walk.labels.unsum(tensor.axes[0])
    return walk
