"""A PyTorch graph that is run in step on all samples, and whose stored tensors can be replaced on the way.

Keras models on the torch backend come as the same kind of graph. Imported in a child only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from edgekit.frameworks import LoadedModel
from edgekit.frameworks.torch import torch_export

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.int64]
    Floats = NDArray[np.float64]

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: What leaves a value as it is; and what lays one out anew, as stored weights are on their way to an operator.
SAME = ("contiguous", "clone", "detach", "alias")
MOVES = ("permute", "transpose", "t", "reshape", "view", "_unsafe_view", *SAME)
#: Conversions of a type, to the same one where the weights are float32 on both sides.
CONVERSIONS = ("to", "_to_copy")
#: What reads a tensor and computes nothing.
_ASSERTIONS = ("_assert_tensor_metadata",)


@dataclass(frozen=True)
class Stored:
    """A stored tensor behind a value that only moves do anything to.

    Attributes:
        target: its name in the graph.
        called: its name in the model.
        tensor: the graph's.
        own: the model's, of which the graph's may be a copy.
        places: where in it each number of the value lies.
        reader: what the value is in the graph.
    """

    target: str
    called: str
    tensor: torch.Tensor
    own: torch.Tensor
    places: Places
    reader: fx.Node

    def values(self, places: Places) -> Floats:
        """What stands at some places."""
        return np.asarray(self.tensor.detach().reshape(-1).double().numpy()[places])

    def put(self, places: Places, values: Floats) -> None:
        """Write into the graph's tensor and into the model's own."""
        flat = self.tensor.detach().reshape(-1).numpy().copy()
        flat[places.reshape(-1)] = values.astype(flat.dtype).reshape(-1)
        for written in (self.tensor, self.own):
            written.data.copy_(torch.from_numpy(flat).reshape(self.tensor.shape))


class Graph:
    """What PyTorch exports of a model, and who reads what in it.

    Args:
        model: of PyTorch, or of Keras on the torch backend.
        batch: samples of one run.
        apart: whether what is a value times a gate of it becomes these two, as some files have it.

    Attributes:
        nodes: in the order in which they run.
    """

    def __init__(self, model: LoadedModel, batch: int = 1, *, apart: bool = False) -> None:
        self._module = torch_export(model, batch).module(check_guards=False)
        if apart:
            _take_apart(self._module)
        self.nodes: Sequence[fx.Node] = list(self._module.graph.nodes)
        native = model.native
        if model.framework == "keras":
            named, all_of_them = {}, [variable.value for variable in native.weights]
            self._paths = {variable.value.data_ptr(): variable.path for variable in native.weights}
            self._trained = {tensor.data_ptr(): tensor for tensor in all_of_them}
        else:
            # What is not saved with the model cannot be changed: buffers that are said not to persist, constants.
            named = {name: value for name, value in native.state_dict().items() if torch.is_tensor(value)}
            all_of_them = list(named.values())
            self._paths = {value.data_ptr(): name for name, value in named.items()}
            self._trained = {parameter.data_ptr(): parameter for parameter in native.parameters()}
        self._named = named
        self._placed = {tensor.data_ptr(): tensor for tensor in all_of_them}
        attributes = [n for n in self.nodes if n.op == "get_attr"]
        self._readers = Counter(self._memory(str(n.target)) for n in attributes for _ in readers(n))

    def started(self, samples: Iterable[Sequence[NDArray[Any]]], *, frozen: bool = False) -> list[State]:
        """A run of each sample, at the first node; ``frozen``: with tensors as they are now, whatever they become."""
        attributes = {str(n.target): self.tensor(str(n.target)) for n in self.nodes if n.op == "get_attr" and frozen}
        kept = {name: value.clone() for name, value in attributes.items() if torch.is_tensor(value)}  # others: branches
        # Copies: a model may write into its inputs.
        return [State(self._module, [torch.tensor(array) for array in sample], kept) for sample in samples]

    def tensor(self, target: str) -> Any:
        """What the graph calls so."""
        return attrgetter(target)(self._module)

    def on_own_tensors(self) -> fx.GraphModule:
        """The graph as a module on the model's own tensors, so that training the one trains the other."""
        named: dict[str, Any] = {}
        for target in {str(n.target) for n in self.nodes if n.op == "get_attr"}:
            tensor = self.tensor(target)
            own = self.own(target, tensor) if torch.is_tensor(tensor) else None
            named[target] = tensor if own is None else self._trained.get(own.data_ptr(), own)
        return fx.GraphModule(named, self._module.graph)

    def stored(self, node: Any) -> Stored | None:
        """The float32 tensor behind a value; None where there is none, or where something else reads it as well."""
        moves, reader = [], node
        while isinstance(node, fx.Node) and node.op == "call_function":
            same = operator(node) in CONVERSIONS and node.meta["val"].dtype == torch.float32
            if len(readers(node)) > 1 or not (same or operator(node) in MOVES):
                return None
            if not same:
                moves.append(node)
            node = node.args[0]
        if not isinstance(node, fx.Node) or node.op != "get_attr" or self._readers[self._memory(str(node.target))] > 1:
            return None
        target = str(node.target)
        tensor = self.tensor(target)
        if not torch.is_tensor(tensor) or tensor.dtype != torch.float32:
            return None
        own = self.own(target, tensor)
        if own is None:
            return None
        places = torch.arange(tensor.numel()).reshape(tensor.shape)
        for move in reversed(moves):
            places = move.target(places, *move.args[1:], **move.kwargs)  # type: ignore[operator]
        return Stored(target, self.called(own, target), tensor, own, places.numpy(), reader)

    def shared(self, target: str) -> bool:
        """Whether several operators read a tensor."""
        return self._readers[self._memory(target)] > 1

    def called(self, own: torch.Tensor, target: str) -> str:
        """What the model calls a tensor of its own: of Keras the path of a variable."""
        return self._paths.get(own.data_ptr(), target)

    def name(self, target: str) -> str:
        """What the model calls what the graph calls so."""
        tensor = self.tensor(target)
        own = self.own(target, tensor) if torch.is_tensor(tensor) and target not in self._named else None
        return target if own is None else self.called(own, target)

    def own(self, name: str, tensor: torch.Tensor) -> torch.Tensor | None:
        """The model's own tensor: by its name, or by where it lies where the graph calls it otherwise.

        None where the model does not save it.
        """
        return self._named.get(name, self._placed.get(tensor.data_ptr()))

    def _memory(self, target: str) -> object:
        """Where a tensor lies: two that lie in the same memory are one, whatever they are called."""
        tensor = self.tensor(target)
        if not torch.is_tensor(tensor):
            return target
        own = self.own(target, tensor)
        return (tensor if own is None else own).untyped_storage().data_ptr()


class State(fx.Interpreter):
    """One sample's run, which is advanced from outside; a value is forgotten behind its last reader."""

    def __init__(self, graph: fx.GraphModule, inputs: Sequence[torch.Tensor], kept: Mapping[str, Any]) -> None:
        super().__init__(graph)
        self._kept = kept
        self.args_iter: Iterator[Any] = iter(inputs)
        self._last: dict[fx.Node, list[fx.Node]] = {}
        seen: set[fx.Node] = set()
        for node in reversed(graph.graph.nodes):
            for argument in node.all_input_nodes:
                if argument not in seen:
                    seen.add(argument)
                    self._last.setdefault(node, []).append(argument)

    def run(self, node: fx.Node) -> None:  # type: ignore[override]
        """Run one node, the next."""
        if node.op == "output":
            return
        self.env[node] = self.run_node(node)
        for done in self._last.get(node, ()):
            self.env.pop(done, None)

    def fetch_attr(self, target: str) -> Any:
        """A stored tensor, as it was where the run is of the model as it was."""
        return self._kept[target] if target in self._kept else super().fetch_attr(target)

    def value(self, node: Any) -> Any:
        """What a node gave, or a constant."""
        return self.env[node] if isinstance(node, fx.Node) else node

    def reread(self, stored: Stored) -> None:
        """Take a tensor as it is now: what lays it out anew has run already, and may have copied it."""
        flat = stored.tensor.detach().reshape(-1).numpy()
        self.env[stored.reader] = torch.from_numpy(flat[stored.places])


#: Operators that multiply a value by a gate of it, and the gates.
_GATED = {"hardswish": torch.ops.aten.hardsigmoid.default, "silu": torch.ops.aten.sigmoid.default}


def _take_apart(module: fx.GraphModule) -> None:
    """Make of each value times its gate these two operators, in place; the product keeps the operator's name."""
    for node in list(module.graph.nodes):
        name = operator(node).removesuffix("_") if node.op == "call_function" else ""
        written = operator(node).endswith("_")  # into its argument, which somebody else may read behind it
        if name not in _GATED or (written and len(readers(node.args[0])) > 1):
            continue
        value = node.args[0]
        with module.graph.inserting_before(node):
            gate = module.graph.create_node("call_function", _GATED[name], (value,), name=f"{node.name}_gate")
            product = module.graph.call_function(torch.ops.aten.mul.Tensor, (value, gate))
        gate.meta, product.meta, called = dict(node.meta), dict(node.meta), node.name
        node.replace_all_uses_with(product)
        module.graph.erase_node(node)
        product.name = called
    module.recompile()


def operator(node: fx.Node) -> str:
    """ATen's name, without the overload."""
    return str(getattr(node.target, "overloadpacket", node.target)).rpartition(".")[2]


def readers(node: fx.Node) -> list[fx.Node]:
    """What computes with a value."""
    return [user for user in node.users if operator(user) not in _ASSERTIONS]


def shape(node: fx.Node) -> tuple[int, ...]:
    """Of a value; of several, as a recurrent operator or a split gives them, none."""
    return tuple(getattr(node.meta["val"], "shape", ()))


def axis_before(node: fx.Node, axis: int) -> int | None:
    """Which axis of its argument a move makes into one of its own; None where it makes it of several, or is no move."""
    given: tuple[Any, ...] = node.args
    if not given or not isinstance(given[0], fx.Node):
        return None
    name, before, after = operator(node), shape(given[0]), shape(node)
    if name == "permute":
        return int(given[1][axis]) % len(before)
    if name in ("transpose", "t"):
        one, other = (int(d) % len(before) for d in (given[1:3] if name == "transpose" else (0, 1)))
        return {one: other, other: one}.get(axis, axis)
    if name in SAME or name in CONVERSIONS:
        return axis
    if name in ("reshape", "view", "_unsafe_view", "flatten", "unsqueeze", "squeeze"):
        ahead = math.prod(after[:axis])
        fits = (a for a in range(len(before)) if math.prod(before[:a]) == ahead and before[a] == after[axis] > 1)
        return next(fits, None)
    return None


def axis_behind(node: fx.Node, axis: int) -> int | None:
    """Which of its own axes a move makes of one of its argument."""
    return next((a for a in range(len(shape(node))) if axis_before(node, a) == axis), None)
