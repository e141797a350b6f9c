"""The stored matrices that operators multiply by: those that can be read as rows, and those that cannot, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import fx

from edgekit.compress.graph import Graph, Stored, operator, readers
from edgekit.compress.products import find
from edgekit.errors import UnsupportedError
from edgekit.scheme import Kind

if TYPE_CHECKING:
    from edgekit.compress.graph import Places

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


@dataclass(frozen=True)
class Matrix:
    """Stored weights that an operator multiplies by: what it does, where each of ``(rows, inputs)`` lies in them.

    ``inputs`` are ``channels`` times positions of a kernel; ``node`` is the operator, ``value`` what it multiplies,
    ``own`` the bias that it adds by itself, and ``axis`` the one of its result that has the rows.
    """

    kind: Kind
    stored: Stored
    rows: Places
    channels: int
    node: fx.Node
    value: fx.Node
    own: fx.Node | None
    axis: int


@dataclass(frozen=True)
class Unruled:
    """Names of stored matrices that an operator multiplies by, and that are read in no such way, because of what."""

    kind: Kind
    names: tuple[str, ...]
    why: str


def find_matrices(graph: Graph) -> Iterator[Matrix | Unruled]:
    """What the operators of a graph multiply by, in the order in which they run."""
    for node in graph.nodes:
        product = find(node, graph, ())
        if product is not None:
            yield Matrix(
                product.product.kind, product.stored, product.rows, product.product.channels,
                node, product.value, product.own, product.axes[1],
            )  # fmt: skip
        elif (other := _other(node, graph)) is not None:
            yield other
        elif node.op == "call_function" and (kind := _MULTIPLY.get(operator(node))) is not None:
            yield _unruled(node, kind, graph)


def _unruled(node: fx.Node, kind: Kind, graph: Graph) -> Unruled:
    origins = [origin for one in node.all_input_nodes if (origin := _origin(one, graph)) is not None]
    if not origins:
        behind = dict.fromkeys(name for one in node.all_input_nodes for name in _computed_of(one, graph))
        return Unruled(kind, tuple(behind), "the model computes its weights of others")
    if kind == "recurrent":
        why = "a recurrent layer"
    elif any(shared for _, shared in origins):
        why = "several operators read it"
    elif _groups(node) > 1:
        why = "a convolution of groups"
    else:
        why = f"there is no rule for `{operator(node)}`, which reads it"
    return Unruled(kind, tuple(name for name, _ in origins), why)


def _computed_of(node: fx.Node, graph: Graph) -> list[str]:
    """The stored matrices that a value is computed of; none where it depends on the model's inputs as well."""
    found, rest, seen = list[str](), [node], set[fx.Node]()
    while rest:
        one = rest.pop()
        if one in seen:
            continue
        seen.add(one)
        if one.op == "placeholder":
            return []
        if one.op == "get_attr" and sum(n > 1 for n in getattr(one.meta.get("val"), "shape", ())) > 1:
            found.append(graph.name(str(one.target)))
        rest += one.all_input_nodes
    return found


def _groups(node: fx.Node) -> int:
    """Of a convolution; 1 of all else."""
    name, given = operator(node), tuple[Any, ...](node.args)
    at = 8 if name == "convolution" else 6 if name.startswith(("conv", "_convolution")) else len(given)
    return int(given[at]) if len(given) > at else 1


def _other(node: fx.Node, graph: Graph) -> Matrix | None:
    """A depthwise or a transposed convolution; its channels are those of a group."""
    name = operator(node)
    given = list(node.args)
    if name in ("conv1d", "conv2d", "conv3d"):
        transposed = False
    elif name in ("conv_transpose1d", "conv_transpose2d"):
        transposed = True
    elif name == "convolution":
        transposed = bool(given[6])
    else:
        return None
    groups = _groups(node)
    stored = graph.stored(given[1])
    if stored is None:
        return None
    places = stored.places
    adds: tuple[Any, Any, int] = given[0], given[2] if len(given) > 2 else None, 1
    if transposed and groups == 1:
        rows = places.swapaxes(0, 1).reshape(places.shape[1], -1)
        return Matrix("transposed-conv", stored, rows, places.shape[0], node, *adds)
    if not transposed and (groups == 1 or places.shape[1] == 1):
        kind: Kind = "conv" if groups == 1 else "depthwise-conv"
        return Matrix(kind, stored, places.reshape(len(places), -1), places.shape[1], node, *adds)
    return None


#: Operators that multiply by weights, and what they are. ``find`` and ``_other`` read what they can of them.
_MULTIPLY: dict[str, Kind] = {
    **dict.fromkeys(("linear", "matmul", "mm", "addmm", "einsum", "bmm", "baddbmm", "addbmm", "mv", "addmv"), "linear"),
    **dict.fromkeys(("bilinear", "_trilinear", "inner", "tensordot", "linalg_multi_dot", "chain_matmul"), "linear"),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution_mode", "conv_tbc"), "conv"),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "transposed-conv"),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), "recurrent"),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), "recurrent"),
}


def _origin(node: fx.Node, graph: Graph) -> tuple[str, bool] | None:
    """The stored matrix that a value is, behind operators of one argument alone, and whether others read it, too.

    None where it is computed.
    """
    shared = False
    while node.op == "call_function" and len(node.all_input_nodes) == 1:
        shared |= len(readers(node)) > 1
        [node] = node.all_input_nodes
    if node.op != "get_attr" or len(getattr(node.meta.get("val"), "shape", ())) < 2:
        return None
    target = str(node.target)
    return graph.name(target), shared or graph.shared(target)


def no_rule(what: str, names: Mapping[str, str], hint: str) -> UnsupportedError:
    """Say of weights that there is nothing for them, naming the first few, and why."""
    more = f", and {len(names) - 5} more" if len(names) > 5 else ""
    shown = ", ".join(f"{name} ({why})" for name, why in list(names.items())[:5])
    return UnsupportedError(f"there is no {what} {shown}{more}", hint=hint)
