"""The products of a PyTorch graph, run on all samples in step, so that each may get other weights on the way.

Keras models on the torch backend come as the same kind of graph. Imported in a child only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from edgekit.errors import UnsupportedError
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.torch import torch_export

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.scheme import Kind

    Floats = NDArray[np.float64]

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: What lays stored weights out anew on their way to a product.
_MOVES = ("permute", "transpose", "t", "reshape", "view", "_unsafe_view", "contiguous", "clone", "detach", "alias")
#: Conversions of a type, to the same one where the weights are float32 on both sides.
_CONVERSIONS = ("to", "_to_copy")
#: What reads a tensor and computes nothing.
_ASSERTIONS = ("_assert_tensor_metadata",)
#: Rows of inputs that one sample of a convolution gives at most: positions lie close to each other and say the same.
_POSITIONS = 1024


@dataclass(frozen=True)
class Product:
    """A product of a value with stored weights.

    Attributes:
        name: of the stored tensor.
        kind: what it does.
        weights: ``(rows, inputs)``; inputs of a convolution are channels times positions of the kernel.
        channels: input channels, which blocks divide.
        hessian: the sum of ``x x^T`` over its inputs, ``(inputs, inputs)``.
    """

    name: str
    kind: Kind
    weights: Floats
    channels: int
    hessian: Callable[[], Floats]


def replace_weights(
    model: LoadedModel, samples: Iterable[Sequence[NDArray[Any]]], change: Callable[[Product], Floats | None]
) -> list[str]:
    """Run a model on samples, operator by operator, and give its products other weights, in place.

    Args:
        model: of PyTorch, or of Keras on the torch backend.
        samples: each the arrays of one call, in the signature's order.
        change: gives ``(rows, inputs)`` weights for a product, whose inputs were computed with what it gave for those
            before; None leaves it as it is.

    Returns:
        Names of the tensors that were changed, in the order of the graph. A tensor that something else reads as well,
        a table of tokens for example, is left as it is.
    """
    program = torch_export(model)
    graph = program.module(check_guards=False)
    readers = Counter(n.target for n in graph.graph.nodes if n.op == "get_attr" for _ in _readers(n))
    own = _own_tensors(model)
    with torch.no_grad():
        states = [_State(graph, [torch.from_numpy(a) for a in sample]) for sample in samples]
        changed = []
        for node in graph.graph.nodes:
            found = _product(node, graph, states)
            if found is not None and readers[found.stored.target] == 1:
                given = change(found.product)
                if given is not None:
                    found.put(given, own(found.stored.target, found.stored.tensor), states)
                    changed.append(found.stored.target)
            for state in states:
                state.run(node)
    return changed


class _State(fx.Interpreter):
    """One sample's run, which is advanced from outside; a value is forgotten behind its last reader."""

    def __init__(self, graph: fx.GraphModule, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__(graph)
        self.args_iter = iter(inputs)
        self.last: dict[fx.Node, list[fx.Node]] = {}
        seen: set[fx.Node] = set()
        for node in reversed(graph.graph.nodes):
            for argument in node.all_input_nodes:
                if argument not in seen:
                    seen.add(argument)
                    self.last.setdefault(node, []).append(argument)

    def run(self, node: fx.Node) -> None:  # type: ignore[override]
        if node.op == "output":
            return
        self.env[node] = self.run_node(node)
        for done in self.last.get(node, ()):
            self.env.pop(done, None)

    def value(self, node: Any) -> Any:
        return self.env[node] if isinstance(node, fx.Node) else node


@dataclass(frozen=True)
class _Found:
    """A product of the graph, and the place in the stored tensor of each of its ``(rows, inputs)`` weights."""

    product: Product
    stored: _Stored
    rows: NDArray[np.int64]

    def put(self, weights: Floats, own: torch.Tensor, states: Sequence[_State]) -> None:
        """Write them into the graph's tensor, into the model's own, of which it may be a copy, and into the runs."""
        tensor = self.stored.tensor
        flat = tensor.detach().reshape(-1).numpy().copy()
        flat[self.rows.reshape(-1)] = weights.astype(flat.dtype).reshape(-1)
        for written in (tensor, own):
            written.data.copy_(torch.from_numpy(flat).reshape(tensor.shape))
        for state in states:  # what lays them out anew has run already, and may have copied them
            state.env[self.stored.reader] = torch.from_numpy(flat[self.stored.places])


@dataclass(frozen=True)
class _Stored:
    """A stored tensor behind a value that only moves do anything to.

    Attributes:
        target: its name in the graph.
        tensor: the graph's.
        places: where in it each number of the value lies.
        reader: what the value is in the graph.
    """

    target: str
    tensor: torch.Tensor
    places: NDArray[np.int64]
    reader: fx.Node


def _own_tensors(model: LoadedModel) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """What finds the model's own tensor: by its name, or by where it lies where the graph calls it otherwise."""
    module = model.native
    if model.framework == "keras":
        named, all_of_them = {}, [variable.value for variable in module.weights]
    else:
        named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        all_of_them = list(named.values())
    placed = {tensor.data_ptr(): tensor for tensor in all_of_them}

    def find(name: str, tensor: torch.Tensor) -> torch.Tensor:
        found = named.get(name, placed.get(tensor.data_ptr()))
        if found is None:
            raise UnsupportedError(f"the exported graph has a tensor {name!r} that is none of the model's own")
        return found

    return find


def _operator(node: fx.Node) -> str:
    """ATen's name, without the overload."""
    return str(getattr(node.target, "overloadpacket", node.target)).rpartition(".")[2]


def _readers(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if _operator(user) not in _ASSERTIONS]


def _product(node: fx.Node, graph: fx.GraphModule, states: Sequence[_State]) -> _Found | None:
    if node.op != "call_function" or not states:
        return None
    read = _READERS.get(_operator(node))
    return read(node, graph, states) if read else None


def _stored(node: Any, graph: fx.GraphModule) -> _Stored | None:
    moves, reader = [], node
    while isinstance(node, fx.Node) and node.op == "call_function":
        same = _operator(node) in _CONVERSIONS and node.meta["val"].dtype == torch.float32
        if len(_readers(node)) > 1 or not (same or _operator(node) in _MOVES):
            return None
        if not same:
            moves.append(node)
        node = node.args[0]
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    target = str(node.target)
    tensor = graph
    for part in target.split("."):
        tensor = getattr(tensor, part)
    if not torch.is_tensor(tensor) or tensor.dtype != torch.float32:
        return None
    places = torch.arange(tensor.numel()).reshape(tensor.shape)
    for move in reversed(moves):
        places = move.target(places, *move.args[1:], **move.kwargs)  # type: ignore[operator]
    return _Stored(target, tensor, places.numpy(), reader)


def _found(
    stored: _Stored, kind: Kind, rows: NDArray[np.int64], inputs: Callable[[], Iterable[torch.Tensor]], channels: int
) -> _Found:
    """A product by the places of its weights, and by its inputs, ``(n, rows.shape[1])`` of each sample."""

    def hessian() -> Floats:
        total = np.zeros((rows.shape[1], rows.shape[1]))
        for some in inputs():
            values = some.double().numpy()
            total += values.T @ values
        return total

    weights = stored.tensor.detach().reshape(-1).double().numpy()[rows]
    return _Found(Product(stored.target, kind, weights, channels, hessian), stored, rows)


def _of_rows(value: Any, states: Sequence[_State]) -> Callable[[], Iterable[torch.Tensor]]:
    """Each sample's value, of which the last axis is multiplied."""
    return lambda: (found.reshape(-1, found.shape[-1]) for found in (state.value(value) for state in states))


def _linear(node: fx.Node, graph: fx.GraphModule, states: Sequence[_State]) -> _Found | None:
    stored = _stored(node.args[1], graph)
    if stored is None:
        return None
    return _found(stored, "linear", stored.places, _of_rows(node.args[0], states), stored.places.shape[1])


def _matmul(node: fx.Node, graph: fx.GraphModule, states: Sequence[_State]) -> _Found | None:
    """``matmul`` and ``mm``; ``addmm``, whose first argument is what is added."""
    value, matrix = node.args[-2:]
    stored = _stored(matrix, graph)
    if stored is None or stored.places.ndim != 2:
        return None
    return _found(stored, "linear", stored.places.T, _of_rows(value, states), stored.places.shape[0])


def _conv(node: fx.Node, graph: fx.GraphModule, states: Sequence[_State]) -> _Found | None:
    """Convolutions of one group along one or two axes, none of them transposed; padding may be said in words."""
    defaults = (None, None, None, 1, 0, 1, 1)
    given: tuple[Any, ...] = (*node.args, *defaults[len(node.args) :])
    if _operator(node) == "convolution":
        *given, transposed, _, groups = given  # type: ignore[assignment]
        if transposed:
            return None
        given = (*given, groups)
    _, weight, _, stride, padding, dilation, groups = given
    stored = _stored(weight, graph)
    if groups != 1 or stored is None or stored.places.ndim not in (3, 4):
        return None
    kernel = stored.places.shape[2:]

    def pair(value: Any) -> tuple[int, ...]:
        said = tuple(value) if isinstance(value, list | tuple) else (value,)
        return said * len(kernel) if len(said) < len(kernel) else said

    def inputs() -> Iterable[torch.Tensor]:
        steps, spread = pair(stride), pair(dilation)
        for state in states:
            value = state.value(node.args[0])
            if padding == "same":
                totals = [d * (k - 1) for k, d in zip(kernel, spread, strict=True)]
                sides = [(total // 2, total - total // 2) for total in totals]
            else:
                sides = [(p, p) for p in pair(0 if padding == "valid" else padding)]
            value = functional.pad(value, [side for pair_of in reversed(sides) for side in pair_of])
            if len(kernel) == 1:
                value = value.unsqueeze(2)
            wide = [(1, *said) if len(kernel) == 1 else said for said in (kernel, spread, steps)]
            columns = functional.unfold(value, wide[0], dilation=wide[1], stride=wide[2])
            rows = columns.transpose(1, 2).reshape(-1, columns.shape[1])
            yield rows[:: max(1, len(rows) // _POSITIONS)]

    return _found(stored, "conv", stored.places.reshape(len(stored.places), -1), inputs, stored.places.shape[1])


def _einsum(node: fx.Node, graph: fx.GraphModule, states: Sequence[_State]) -> _Found | None:
    """``einsum`` of a value and weights that share no letter with the result but their own."""
    equation, operands = str(node.args[0]), list(node.args[1])  # type: ignore[arg-type]
    if len(operands) != 2 or "." in equation:
        return None
    sides, _, out = equation.replace(" ", "").partition("->")
    left, right = sides.split(",")
    summed = [letter for letter in right if letter in left]
    kept = [letter for letter in right if letter not in left]
    if any(letter in out for letter in summed) or len(set(right)) < len(right):
        return None
    value, weight = operands
    stored = _stored(weight, graph)
    if stored is None or stored.places.ndim != len(right):
        return None
    order = [right.index(letter) for letter in (*kept, *summed)]
    width = int(np.prod([stored.places.shape[right.index(letter)] for letter in summed]))
    rows = stored.places.transpose(order).reshape(-1, width)
    moved = [*(i for i, letter in enumerate(left) if letter not in summed), *(left.index(letter) for letter in summed)]

    def inputs() -> Iterable[torch.Tensor]:
        return (state.value(value).permute(moved).reshape(-1, width) for state in states)

    return _found(stored, "linear", rows, inputs, width)


_READERS: dict[str, Callable[[fx.Node, fx.GraphModule, Sequence[_State]], _Found | None]] = {
    "linear": _linear,
    "matmul": _matmul,
    "mm": _matmul,
    "addmm": _matmul,
    "conv1d": _conv,
    "conv2d": _conv,
    "convolution": _conv,
    "_convolution_mode": _conv,
    "einsum": _einsum,
}
