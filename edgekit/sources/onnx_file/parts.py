"""What is inside an ONNX model: its operators, its weights and where they lie, what its functions come to."""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import onnx

from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx",)

#: A protocol buffer has 2 GiB at most, and so has every ONNX file that is written of a model.
MOST_BYTES = (1 << 31) - (1 << 20)
AGAIN = "Export it again, or copy it again."
#: Operators that a model may have once the calls of its own functions are written out: the largest language models have
#: some ten thousand, and so many are written out and checked within seconds.
_MOST_OPERATORS = 250_000
#: Where counting ends: functions that call each other twice double with each of them.
_COUNTED = 10**15
#: How a function is called: its domain, its name, and which of several of that name.
_Function = tuple[str, str, str]


def nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """The operators of a graph or function, and of the bodies of its control flow."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from nodes(body)


def put_in_order(graph: onnx.GraphProto) -> None:
    """Let every operator stand behind those that make its inputs, in the bodies of control flow as well.

    ONNX wants it so, and tools that add operators at the end leave it to others (ONNX Runtime sorts as it loads). What
    is in order, or runs in a circle, stays as it is.
    """
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                put_in_order(body)
    made = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    before = {place: {made[name] for name in _reads(node) if name in made} for place, node in enumerate(graph.node)}
    if all(one < place for place, needs in before.items() for one in needs):
        return
    try:
        order = [*graphlib.TopologicalSorter(before).static_order()]
    except graphlib.CycleError:
        return
    whole = [*graph.node]
    del graph.node[:]
    graph.node.extend(whole[place] for place in order)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names of values that an operator takes, those that its bodies see of the graph around them included."""
    yield from node.input
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from (name for inner in body.node for name in _reads(inner))
            yield from (value.name for value in body.output)


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph: initializers, attributes, and those of the bodies of its control flow."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _attributes(node)


def _attributes(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for body in (attribute.g, *attribute.graphs):
            yield from tensors(body)


def outside(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model, and of its own functions, that lies in another file."""
    inside = (t for function in model.functions for node in function.node for t in _attributes(node))
    everywhere = (*tensors(model.graph), *inside)
    return (t for t in everywhere if t.data_location == onnx.TensorProto.EXTERNAL)


def stored_at(tensor: onnx.TensorProto) -> dict[str, str]:
    """What a weight says of its place in another file, as it stands there."""
    return {entry.key: entry.value for entry in tensor.external_data}


def located(tensor: onnx.TensorProto, given: str) -> str:
    """The name of the file that a weight lies in.

    Raises:
        DamagedFileError: it has none.
    """
    location = stored_at(tensor).get("location", "")
    if not location:
        raise DamagedFileError(
            f"{given} takes the weight {tensor.name!r} from another file, and does not say which", hint=AGAIN
        )
    return location


def elsewhere(tensor: onnx.TensorProto, given: str) -> UnsafeInputError:
    """The error for a weight that lies outside of the model's folder."""
    return UnsafeInputError(
        f"{given} takes the weight {tensor.name!r} from {located(tensor, given)!r}, outside of its own folder",
        hint="Keep external data beside the model.",
    )


def not_there(path: Path, given: str, name: str) -> DamagedFileError:
    """The error for weights that are to come from what is no file."""
    what = "is no file" if path.exists() else "is not there"
    return DamagedFileError(
        f"{given} takes weights from {name!r}, which {what}", hint="Copy the file of its weights beside the model."
    )


def lies_below(location: str) -> bool:
    """Whether a name is that of a file below a folder, whatever lies there."""
    parts = PurePosixPath(location).parts
    return bool(parts) and "\0" not in location and "\\" not in location and ".." not in parts and parts[0] != "/"


def span(tensor: onnx.TensorProto, given: str, files: Mapping[str, Path]) -> tuple[int, int]:
    """Where in its file a weight begins, and how many bytes it has there.

    Raises:
        DamagedFileError: the file is not there, or has no such place.
    """
    said = stored_at(tensor)
    location = said.get("location", "")
    weight = f"{given} takes the weight {tensor.name!r} from"
    try:
        size = files[location].stat().st_size
    except (KeyError, OSError) as error:
        raise DamagedFileError(
            f"{weight} {location!r}, which is not there", hint="Copy it beside the model."
        ) from error
    try:
        offset = int(said.get("offset") or 0)
        length = int(said.get("length") or max(0, size - offset))
    except ValueError as error:
        place = ", ".join(f"{key} {said[key]!r}" for key in ("offset", "length") if key in said)
        raise DamagedFileError(f"{weight} {location!r} at a place that is no number: {place}", hint=AGAIN) from error
    if offset < 0 or length < 0 or offset + length > size:
        which = f"bytes {offset} to {offset + length}" if said.get("length") else f"byte {offset} on"
        raise DamagedFileError(f"{weight} {which} of {location!r}, which has {size}", hint="Copy both files again.")
    return offset, length


def too_large(given: str) -> UnsupportedError:
    """The error for what no protocol buffer holds."""
    return UnsupportedError(
        f"{given} holds more than 2 GiB, and an ONNX file that is written of it can hold no more",
        hint="Export the model in parts, or with float16 weights.",
    )


def check_functions(model: onnx.ModelProto, given: str) -> None:
    """Count what a model's own functions are written out as, before they are: a few hundred bytes may be millions.

    Raises:
        UnsupportedError: more operators than any model has, or more bytes than a file holds.
        DamagedFileError: they call each other without end.
    """
    own = {(domain_of(f), f.name, f.overload): f for f in model.functions}
    calls = {name: _called(function, own) for name, function in own.items()}
    try:
        order = [*graphlib.TopologicalSorter({name: set(found) for name, found in calls.items()}).static_order()]
    except graphlib.CycleError as error:
        circle = " -> ".join(name for _, name, _ in reversed(error.args[1]))
        raise DamagedFileError(f"{given}: its functions call each other without end: {circle}", hint=AGAIN) from error
    sizes: dict[_Function, tuple[int, int]] = {}
    for name in order:
        sizes[name] = _written_out(own[name], calls[name], sizes)
    operators, size = _written_out(model.graph, _called(model.graph, own), sizes)
    if operators > _MOST_OPERATORS:
        more = "or more " if operators == _COUNTED else ""
        raise UnsupportedError(
            f"{given} has {operators} operators {more}once its functions are written out; at most {_MOST_OPERATORS} "
            "are allowed",
            hint="Export it without functions that call functions, or in parts.",
        )
    if size > MOST_BYTES:
        raise too_large(given)


def _called(body: onnx.GraphProto | onnx.FunctionProto, own: Mapping[_Function, object]) -> Counter[_Function]:
    """Which of a model's own functions are called in a body, and how often."""
    names = ((domain_of(node), node.op_type, node.overload) for node in nodes(body))
    return Counter(name for name in names if name in own)


def _written_out(
    body: onnx.GraphProto | onnx.FunctionProto,
    calls: Mapping[_Function, int],
    sizes: Mapping[_Function, tuple[int, int]],
) -> tuple[int, int]:
    """Operators and bytes of a body in which calls are replaced by what is called."""
    operators = sum(1 for _ in nodes(body)) - sum(calls.values())
    operators += sum(count * sizes[name][0] for name, count in calls.items())
    size = body.ByteSize() + sum(count * sizes[name][1] for name, count in calls.items())
    return min(operators, _COUNTED), min(size, _COUNTED)


def domain_of(named: onnx.NodeProto | onnx.FunctionProto) -> str:
    """The domain of an operator or function; that of ONNX's own is empty."""
    return "" if named.domain == "ai.onnx" else named.domain
