"""A TensorFlow SavedModel: which operators its graphs hold, and which of them loading and running would reach.

Field numbers are those of tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph,saver}.proto and
framework/{graph,function,node_def,attr_value}.proto. Looked at is what ``tf.saved_model.load`` of TensorFlow 2.21 does:
it makes a function of each in the library and calls what the object graph says (initializers, restorers of
checkpoints), or, where there is no object graph (TensorFlow 1), runs the initializer and the saver's restore operator
of the graph; then ``edgekit`` calls a signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import DamagedFileError
from edgekit.sources import allowed
from edgekit.sources.protobuf import Message, RepeatedFieldError

#: Files of a SavedModel that are read; a text form of the graph, or one in pieces, lying beside it would be another.
MEMBERS = re.compile(
    r"saved_model\.pb|fingerprint\.pb|keras_metadata\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})|"
    r"assets(\.extra)?/.+|debug/saved_model_debug_info\.pb"
)
#: What operators are called that read or write files, run Python, or reach other hosts; others on no list are unknown.
_REACHES_OUT = re.compile(
    r"File|Reader|Record|Dataset|Iterator|PyFunc|Summary|Save|Restore|Checkpoint|^Print|^Debug|^Dump|Rpc|Remote|Lmdb|"
    r"Vocab|LoadAndRemap|ImmutableConst|Proto|Sampler|Skipgram|ImportEvent|Send|Recv|Collective|Nccl|Tpu|TPU|Abort|"
    r"Custom|Host|SleepOp|Mlir|Table.*(Text|File)"
)
#: Collections of nodes that loading runs, or may run.
_INITIALIZERS = ("saved_model_main_op", "legacy_init_op", "table_initializer", "local_init_op", "init_op")
_INIT_SIGNATURE = "__saved_model_init_op"


@dataclass(frozen=True)
class Node:
    """One operator of a graph: its name, what it is, the nodes that it reads, the functions that it calls."""

    name: str
    op: str
    inputs: tuple[str, ...]
    calls: frozenset[str]


@dataclass(frozen=True)
class Graph:
    """One ``MetaGraphDef``.

    Attributes:
        nodes: of the top-level graph, by name.
        functions: nodes of each function of the library, by the function's name.
        signatures: name of each signature -> nodes that its results are taken from.
        initializers: nodes that loading runs.
        objects: names of functions that the object graph speaks of; None where there is none (TensorFlow 1).
        filename: node that the saver takes the checkpoint's path from.
        restore: node that the saver restores with.
    """

    nodes: Mapping[str, Node]
    functions: Mapping[str, tuple[Node, ...]]
    signatures: Mapping[str, frozenset[str]]
    initializers: frozenset[str]
    objects: frozenset[str] | None
    filename: str
    restore: str


def read(path: Path, given: str) -> list[Graph]:
    """Parse ``saved_model.pb``.

    Raises:
        DamagedFileError: not a whole protocol buffer, or without a graph.
        UnsafeInputError: a field that may be there once is there twice.
    """
    try:
        found = [_graph(meta) for meta in Message(path.read_bytes(), given).messages(2, "a graph")]
    except RepeatedFieldError as error:
        raise allowed.unsafe(given, str(error)) from error
    except (ValueError, OSError) as error:
        raise DamagedFileError(
            f"{given} is not a whole SavedModel: saved_model.pb: {error}", hint="Save the model again."
        ) from error
    if not any(graph.nodes or graph.functions for graph in found):
        raise DamagedFileError(f"{given} holds no graph in saved_model.pb", hint="Save the model again.")
    return found


def check(graphs: Iterable[Graph], given: str) -> None:
    """Hold every operator against the list, and those that save and restore to the model's own saver.

    Raises:
        UnsafeInputError: an operator that does more than compute.
        UnsupportedError: an operator that is on no list.
    """
    unlisted: list[str] = []
    operators = allowed.lists("tensorflow")["of_savers"]
    for graph in graphs:
        for where, nodes in [("the main graph", tuple(graph.nodes.values())), *graph.functions.items()]:
            unlisted += [found for node in nodes if (found := _check_operator(node, where, graph, given))]
        _check_savers(graph, _saver_functions(graph, operators), operators, given)
    if unlisted:
        raise allowed.unknown(given, unlisted[0])


def _check_operator(node: Node, where: str, graph: Graph, given: str) -> str:
    """Refuse what does more than compute; say what is on no list, and nothing of all else."""
    lists, found = allowed.lists("tensorflow"), f"operator {node.op} in {where}"
    listed = node.op in lists["operators"] or node.op in lists["of_savers"]
    if not listed and _REACHES_OUT.search(node.op):
        raise allowed.unsafe(given, found)
    missing = sorted(node.calls - graph.functions.keys())
    if missing:
        return f"{found} calls {missing[0]!r}, which the file does not hold"
    return "" if listed or node.op in graph.functions else found


def _saver_functions(graph: Graph, operators: frozenset[str]) -> set[str]:
    """Functions that save or restore, by themselves or by what they call."""
    found = {name for name, nodes in graph.functions.items() if any(node.op in operators for node in nodes)}
    while True:
        more = {name for name, nodes in graph.functions.items() if any(_called(node) & found for node in nodes)}
        if more <= found:
            return found
        found |= more


def _called(node: Node) -> frozenset[str]:
    return node.calls | {node.op}


def _check_savers(graph: Graph, savers: set[str], operators: frozenset[str], given: str) -> None:
    """What saves and restores may be reached by the model's own saver alone, with the path that it is given."""
    if graph.objects is not None and (spoken := sorted(graph.objects & savers)):
        raise allowed.unsafe(given, f"its objects call function {spoken[0]!r}, which saves or restores by itself")
    roots = frozenset().union(graph.initializers, *graph.signatures.values())
    for node in _reached(graph, roots):
        if node.op in operators or _called(node) & savers:
            raise allowed.unsafe(given, f"{node.op} {node.name!r} saves or restores when the model is loaded or run")
    if graph.objects is not None:
        return  # the graph's own saver is not run
    for node in _reached(graph, frozenset({graph.restore} - {""})):
        path = graph.nodes.get(node.inputs[0]) if node.inputs else None
        own = node.op == "RestoreV2" and path is not None and path.name == graph.filename
        if (node.op in operators and not own) or _called(node) & savers:
            raise allowed.unsafe(given, f"{node.op} {node.name!r} is run to restore the model's variables")
    if graph.restore and graph.nodes.get(graph.filename, Node("", "", (), frozenset())).op not in (
        "Placeholder", "PlaceholderWithDefault", "Const",
    ):  # fmt: skip
        raise allowed.unsafe(given, f"it restores its variables from what {graph.filename!r} says")


def _reached(graph: Graph, names: frozenset[str]) -> list[Node]:
    """Nodes of the top-level graph that these read, directly or not."""
    todo, seen = list(names), set(names)
    while todo:
        node = graph.nodes.get(todo.pop())
        more = set(node.inputs if node else ()) - seen
        seen |= more
        todo += more
    return [graph.nodes[name] for name in seen if name in graph.nodes]


def _graph(meta: Message) -> Graph:
    definition = meta.message(2, "a graph")
    library = definition.message(2, "a library of functions")
    functions: dict[str, tuple[Node, ...]] = {}
    for function in library.messages(1, "a function"):
        name = function.message(1, "a function's signature").text(1)
        if name in functions:
            raise RepeatedFieldError(f"function {name!r} is there twice")
        functions[name] = tuple(_node(node) for node in function.messages(3, "an operator"))
    nodes = [_node(node) for node in definition.messages(1, "an operator")]
    if len({node.name for node in nodes}) < len(nodes):
        raise RepeatedFieldError("two operators have the same name")
    signatures = dict(_signature(entry) for entry in meta.messages(5, "a signature"))
    saver = meta.message(3, "a saver")
    initializers = signatures.pop(_INIT_SIGNATURE, frozenset())
    for entry in meta.messages(4, "a collection"):
        if entry.text(1) in _INITIALIZERS:
            initializers |= {_of(name) for name in entry.message(2).message(1).texts(1)}
    return Graph(
        {node.name: node for node in nodes},
        functions,
        {name: found for name, found in signatures.items() if not name.startswith("__")},
        initializers,
        _objects(meta.message(7, "an object graph")) if meta.has(7) else None,
        _of(saver.text(1)),
        _of(saver.text(3)),
    )


def _node(message: Message) -> Node:
    calls: set[str] = set()
    keys: set[str] = set()
    for entry in message.messages(5, "an operator's attribute"):
        if (key := entry.text(1)) in keys:
            raise RepeatedFieldError(f"attribute {key!r} of an operator is there twice")
        keys.add(key)
        value = entry.message(2)
        for function in (*value.messages(10), *(f for many in value.messages(1) for f in many.messages(9))):
            calls.add(function.text(1))
    return Node(message.text(1), message.text(2), tuple(map(_of, message.texts(3))), frozenset(calls - {""}))


def _of(tensor: str) -> str:
    """The node that a tensor or a control input names: ``^node``, ``node:1``."""
    return tensor.removeprefix("^").partition(":")[0]


def _signature(entry: Message) -> tuple[str, frozenset[str]]:
    """A signature's name, and the nodes that its results come from."""
    names: set[str] = set()
    todo = [result.message(2) for result in entry.message(2, "a signature").messages(2)]
    while todo:
        tensor = todo.pop()
        sparse = tensor.message(4)
        names |= {tensor.text(1), *(sparse.text(number) for number in (1, 2, 3))}
        todo += tensor.message(5).messages(2)
    return entry.text(1), frozenset(_of(name) for name in names - {""})


def _objects(graph: Message) -> frozenset[str]:
    """Functions that an object graph speaks of: a ``SavedFunction``'s, a bare one, and those in its table."""
    names = {entry.text(1) for entry in graph.messages(2, "a function of the object graph")}
    for node in graph.messages(1, "an object"):
        names |= {name for function in node.messages(6) for name in function.texts(1)}
        names |= {function.text(1) for function in node.messages(8)}
    return frozenset(names)
