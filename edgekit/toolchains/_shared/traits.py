"""Traits: what a graph is made of, found by the same rules in the files of every toolchain.

A toolchain hands over its file as a ``Graph`` (``traits.graph`` in its folder); the rules stand here. A *product* is
a matrix product or a convolution. Its *weights* are a factor that depends on no input of the graph.

==================== ==================================================================================================
trait                what it says
==================== ==================================================================================================
``attention``        a softmax's result, moved or masked at most, is multiplied by another computed tensor in a matrix
                     product; or attention is one operator. A softmax before fixed weights (the expectation over the
                     bins of a detector's box edge) is none.
``recurrent``        a product depends on an earlier product with the same weights. One of the next four says how.
``cells``            recurrent layers are one operator each (LSTM, GRU, RNN), whose steps the runtime makes.
``unrolled``         both products stand in the graph: time steps are written out one after the other. An iterated
                     layer (ALBERT, RAFT's updates) is the same to a quantizer, and is called so.
``stateful``         one product, once per call: its result reaches it again through a state of the signature.
``looped``           one product in the body of a loop, whose result reaches it in the next turn.
``loops``            there is a loop, whatever it does.
``gated``            a computed tensor is multiplied by the sigmoid of another: WaveNet's and GLU's gates, those of LSTM
                     and GRU, squeeze-excite. Swish multiplies by the sigmoid of the same tensor and is none. A hard
                     sigmoid counts where the file has it as one operator.
``depthwise``        a convolution of several groups, each of one input channel.
``grouped``          a convolution of several groups of several input channels each.
``transposed``       a transposed convolution.
==================== ==================================================================================================

The same weights on *two inputs* are no recurrence, since neither product depends on the other: siamese networks, a
detector's head on several scales. Nor is a table that is looked up and multiplied with (tied embeddings): a lookup is
no product. Equal weights are one, whatever they are called: exporters write a copy for each time step. A filter that
is the same for every channel (a blur) is fixed by design and counts for no weights, however often it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekit.signature import State

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.signature import Trait

#: What the rules know of an operator; ``move`` gives its input's values in another place, shape or type.
Kind = Literal[
    "matmul", "conv", "conv_transpose", "cell", "attention", "softmax", "sigmoid", "multiply", "move", "loop", "branch",
    "other",
]  # fmt: skip
PRODUCTS = frozenset(("matmul", "conv", "conv_transpose"))


def by_op(table: Mapping[Kind, Iterable[str]]) -> Mapping[str, Kind]:
    """The kind of each operator, from a table that lists a toolchain's operators by kind; all others are "other"."""
    return {op: kind for kind, ops in table.items() for op in ops}


@dataclass(frozen=True)
class Body:
    """What a loop or a branch runs.

    Attributes:
        graph: the body; values of the outside are seen inside by their names.
        given: the body's own names of what it is given: inside -> outside.
    """

    graph: Graph
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        kind: what it is to the rules.
        op: what it is to the toolchain: weights that different operators make of one constant are different.
        inputs: values; of a product the two factors come first.
        outputs: values.
        groups: of a convolution.
        channels: input channels of a convolution; 0 where they are unknown.
        bodies: of a loop or a branch.
    """

    kind: Kind
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    groups: int = 1
    channels: int = 0
    bodies: tuple[Body, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A file's graph, or a body in it.

    Attributes:
        nodes: operators in an order in which they can run; constants are none.
        constants: stored values by name: the array, or a text that names it where it is not at hand.
        again: of a loop's body: (value, the input that it is in the next turn).
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[np.generic] | str]
    again: tuple[tuple[str, str], ...] = ()


def find(graph: Graph, states: Sequence[State] = ()) -> frozenset[Trait]:
    """The traits of a graph; ``states`` of its signature are outputs that are inputs of the next call."""
    graph = replace(graph, again=tuple((state.output, state.input) for state in states))
    reading = _Reading()
    once, _ = reading.walk(graph, {}, {}, repeat=False)
    found: set[Trait] = set(reading.found)
    if once:
        found.add("unrolled")
    if graph.again and reading.walk(graph, {}, {}, repeat=True)[0] - once:
        found.add("stateful")
    if found & {"cells", "unrolled", "stateful", "looped"}:
        found.add("recurrent")
    return frozenset(found)


#: Products that depend on their own weights, each as (its output, the weights).
Hits = set[tuple[str, int]]


class _Reading:
    """One graph's values while it is walked through: which are fixed, and on which weights the others depend.

    A fixed value has a number, equal ones the same. A value that is not fixed has bits ``behind`` it: one for each of
    the weights whose products it depends on.
    """

    def __init__(self) -> None:
        self.found: set[Trait] = set()
        self._numbers: dict[object, int] = {}
        self._bits: dict[int, int] = {}
        self._made: dict[str, Node] = {}

    def walk(
        self, graph: Graph, fixed: Mapping[str, int], behind: Mapping[str, int], *, repeat: bool
    ) -> tuple[Hits, dict[str, int]]:
        """Go through a graph in order, and with ``repeat`` until its next time tells nothing new.

        Args:
            graph: what is walked through.
            fixed: numbers of fixed values that are seen from the outside.
            behind: bits behind the other values that are seen from the outside.
            repeat: whether ``graph.again`` counts.

        Returns:
            The products that depend on their own weights, and the bits behind all values.
        """
        fixed = {**fixed, **{name: self._constant(name, value) for name, value in graph.constants.items()}}
        behind, hits = dict(behind), Hits()
        while True:
            for node in graph.nodes:
                hits |= self._step(node, fixed, behind)
            more = {into: behind.get(into, 0) | behind.get(value, 0) for value, into in graph.again}
            if not repeat or all(behind.get(name, 0) == bits for name, bits in more.items()):
                return hits, behind
            behind |= more

    def _step(self, node: Node, fixed: dict[str, int], behind: dict[str, int]) -> Hits:
        self._made |= dict.fromkeys(node.outputs, node)
        if node.inputs and not node.bodies and all(name in fixed for name in node.inputs):
            numbers = tuple(fixed[name] for name in node.inputs)
            fixed |= {name: self._number((node.op, place, numbers)) for place, name in enumerate(node.outputs)}
            return Hits()
        self._note(node, fixed)
        bits, hits = 0, Hits()
        for name in node.inputs:
            bits |= behind.get(name, 0)
        for weights in (fixed[name] for name in node.inputs[:2] if node.kind in PRODUCTS and name in fixed):
            bit = 1 << self._bits.setdefault(weights, len(self._bits))
            if bits & bit:
                hits.add((node.outputs[0], weights))
            bits |= bit
        for body in node.bodies:
            inside, more = self._body(node, body, fixed, behind)
            hits |= inside
            bits |= more
        behind |= dict.fromkeys(node.outputs, bits)
        return hits

    def _body(self, node: Node, body: Body, fixed: Mapping[str, int], behind: Mapping[str, int]) -> tuple[Hits, int]:
        """Hits inside of a body within one turn, and the bits behind everything in it."""
        changed = {into for value, into in body.graph.again if value != into}
        known = {name: fixed[outer] for name, outer in body.given.items() if outer in fixed and name not in changed}
        # What comes back as it went in is as fixed as a constant, for as long as the loop runs.
        kept = {name for value, name in body.graph.again if value == name and name not in known}
        known |= {name: self._number((node.outputs, name)) for name in kept}
        given = {name: behind.get(outer, 0) for name, outer in body.given.items()}
        inside = {**fixed, **known}, {**behind, **given}
        once, last = self.walk(body.graph, *inside, repeat=False)
        if node.kind == "loop":
            turns, last = self.walk(body.graph, *inside, repeat=True)
            if turns - once:
                self.found.add("looped")
        bits = 0
        for inner in body.graph.nodes:
            for name in inner.outputs:
                bits |= last.get(name, 0)
        return once, bits

    def _note(self, node: Node, fixed: Mapping[str, int]) -> None:
        """Traits that one operator and what made its inputs tell."""
        match node.kind:
            case "attention":
                self.found.add("attention")
            case "cell":
                self.found.add("cells")
            case "loop":
                self.found.add("loops")
            case "conv_transpose":
                self.found.add("transposed")
            case "matmul" if not any(name in fixed for name in node.inputs[:2]):
                if any(made.kind == "softmax" for name in node.inputs[:2] for made in self._sources(name)):
                    self.found.add("attention")
            case "multiply" if not any(name in fixed for name in node.inputs[:2]):
                first, second = (node.inputs * 2)[:2]
                if any(self._gates(*pair) for pair in ((first, second), (second, first))):
                    self.found.add("gated")
        if node.kind in ("conv", "conv_transpose") and node.groups > 1:
            self.found.add("depthwise" if node.groups == node.channels else "grouped")

    def _gates(self, gate: str, other: str) -> bool:
        return any(made.kind == "sigmoid" and other not in made.inputs for made in self._sources(gate))

    def _sources(self, name: str) -> Iterator[Node]:
        """What computed a value, looking through what only moves values."""
        names, seen = [name], set[str]()
        while names:
            node = self._made.get(names.pop())
            if node is None:
                continue
            if node.kind != "move":
                yield node
            elif node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                names.extend(node.inputs)

    def _constant(self, name: str, value: NDArray[np.generic] | str) -> int:
        if isinstance(value, str):
            return self._number(("named", value))
        if _repeats(value):
            return self._number(("filter", name))
        return self._number((value.dtype.str, value.shape, hashlib.sha256(np.ascontiguousarray(value).data).digest()))

    def _number(self, what: object) -> int:
        return self._numbers.setdefault(what, len(self._numbers))


def _repeats(array: NDArray[np.generic]) -> bool:
    """Whether an array says the same over and over along one of its axes."""
    for axis, size in enumerate(array.shape):
        first = np.take(array, [0], axis) if size > 1 else None
        if first is not None and (first == np.take(array, [1], axis)).all() and (first == array).all():
            return True
    return False
