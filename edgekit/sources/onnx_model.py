"""ONNX models that somebody hands in: read with the weights beside them, checked, and written anew as one file.

What is checked is what is loaded: the copy is written from the message that was parsed, so that there is one reading of
it. Weights in other files come in with it; a tensor may name any file, and only those below the model's own folder are
taken, as the parent handed them in.
"""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError

from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError, UsageError, printable
from edgekit.sources import allowed

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx", "protobuf")

#: ONNX's own domains; operators of all others need code that somebody wrote.
STANDARD = ("", "ai.onnx", "ai.onnx.ml")
MICROSOFT = "com.microsoft"
#: A protocol buffer has 2 GiB at most, and so has every ONNX file that is written of a model.
_MOST_BYTES = (1 << 31) - (1 << 20)
_AGAIN = "Export it again, or copy it again."
#: Operators that a model may have once the calls of its own functions are written out: the largest language models have
#: some ten thousand, and so many are written out and checked within seconds.
_MOST_OPERATORS = 250_000
#: Where counting ends: functions that call each other twice double with each of them.
_COUNTED = 10**15


def parse(path: Path, given: str) -> onnx.ModelProto:
    """Read a model without the weights that lie in other files.

    Raises:
        DamagedFileError: truncated, altered, or no ONNX model.
        UnsupportedError: of a later version than the installed package knows, or larger than one file can be.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise _too_large(given)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise DamagedFileError(f"{given} is not an ONNX model: it cannot be parsed", hint=_AGAIN) from error
    if not model.HasField("graph") or not model.ir_version:
        raise DamagedFileError(f"{given} is not an ONNX model: it has no graph", hint=_AGAIN)
    known = onnx.defs.onnx_opset_version()
    opset = opset_of(model)
    if opset > known or model.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"{given} is of opset {opset} and IR version {model.ir_version}; onnx {onnx.__version__} knows them up to "
            f"{known} and {onnx.IR_VERSION}",
            hint=f"Export it with opset_version={known} or below, or install a newer onnx.",
        )
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators that a model is written in; 1 where it does not say."""
    return max((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


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


def _stored(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def beside(model: onnx.ModelProto, given: str) -> tuple[str, ...]:
    """The files of weights that a model names, relative to its folder.

    Raises:
        DamagedFileError: one has no name.
        UnsafeInputError: one of them lies elsewhere.
    """
    found: dict[str, None] = {}
    for tensor in outside(model):
        location = located(tensor, given)
        if not lies_below(location):
            raise elsewhere(tensor, given)
        found[location] = None
    return tuple(sorted(found))


def located(tensor: onnx.TensorProto, given: str) -> str:
    """The name of the file that a weight lies in.

    Raises:
        DamagedFileError: it has none.
    """
    location = _stored(tensor).get("location", "")
    if not location:
        raise DamagedFileError(
            f"{given} takes the weight {tensor.name!r} from another file, and does not say which", hint=_AGAIN
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


def check(path: Path, given: str, folder: Path, files: Mapping[str, Path], *, trust: bool) -> Path:
    """Check a model and write it into a folder, with all weights inside; returns the file.

    Args:
        path: the model.
        given: what errors call it.
        folder: where the copy goes.
        files: those that it names (``beside``), and where they are.
        trust: whether the user answers for operators that nobody has looked at.

    Raises:
        DamagedFileError: truncated, altered, or not what it says.
        UnsafeInputError: weights outside of its folder, or an operator that reads files or runs code.
        UnsupportedError: an operator that neither ONNX nor ONNX Runtime has; more than 2 GiB, or functions that
            are written out as more operators than any model has.
        UsageError: a name that cannot be shown.
    """
    model = parse(path, given)
    _check_names(model, given)
    _bring_in(model, given, files)
    try:
        if model.functions:
            check_functions(model, given)
            model = onnx.inliner.inline_local_functions(model)
        _check_operators(model, given, trust=trust)
        if not model.graph.node:
            raise UsageError(f"{given} computes nothing: its graph has no operator", hint=_AGAIN)
        copy = folder / "model.onnx"
        copy.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(copy), full_check=True)
    except EncodeError as error:
        raise _too_large(given) from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).replace(str(folder), "").split())[:400]
        raise DamagedFileError(f"{given} is not a valid ONNX model: {said}", hint=_AGAIN) from error
    return copy


def _too_large(given: str) -> UnsupportedError:
    return UnsupportedError(
        f"{given} holds more than 2 GiB, and an ONNX file that is written of it can hold no more",
        hint="Export the model in parts, or with float16 weights.",
    )


def _bring_in(model: onnx.ModelProto, given: str, files: Mapping[str, Path]) -> None:
    """Put the weights that lie in other files into the model."""
    total = model.ByteSize()
    for tensor in outside(model):
        offset, length = span(tensor, given, files)
        total += length
        if total > _MOST_BYTES:
            raise _too_large(given)
        with files[_stored(tensor)["location"]].open("rb") as opened:
            opened.seek(offset)
            tensor.raw_data = opened.read(length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def span(tensor: onnx.TensorProto, given: str, files: Mapping[str, Path]) -> tuple[int, int]:
    """Where in its file a weight begins, and how many bytes it has there.

    Raises:
        DamagedFileError: the file is not there, or has no such place.
    """
    said = _stored(tensor)
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
        raise DamagedFileError(f"{weight} {location!r} at a place that is no number: {place}", hint=_AGAIN) from error
    if offset < 0 or length < 0 or offset + length > size:
        which = f"bytes {offset} to {offset + length}" if said.get("length") else f"byte {offset} on"
        raise DamagedFileError(f"{weight} {which} of {location!r}, which has {size}", hint="Copy both files again.")
    return offset, length


def check_functions(model: onnx.ModelProto, given: str) -> None:
    """Count what a model's own functions are written out as, before they are: a few hundred bytes may be millions."""
    own = {(_domain(f), f.name, f.overload): f for f in model.functions}
    calls = {name: _called(function, own) for name, function in own.items()}
    try:
        order = [*graphlib.TopologicalSorter({name: set(found) for name, found in calls.items()}).static_order()]
    except graphlib.CycleError as error:
        circle = " -> ".join(name for _, name, _ in reversed(error.args[1]))
        raise DamagedFileError(f"{given}: its functions call each other without end: {circle}", hint=_AGAIN) from error
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
    if size > _MOST_BYTES:
        raise _too_large(given)


#: How a function is called: its domain, its name, and which of several of that name.
_Function = tuple[str, str, str]


def _called(body: onnx.GraphProto | onnx.FunctionProto, own: Mapping[_Function, object]) -> Counter[_Function]:
    """Which of a model's own functions are called in a body, and how often."""
    names = ((_domain(node), node.op_type, node.overload) for node in nodes(body))
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


def _domain(named: onnx.NodeProto | onnx.FunctionProto) -> str:
    return "" if named.domain == "ai.onnx" else named.domain


def nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """The operators of a graph or function, and of the bodies of its control flow."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from nodes(body)


def _check_operators(model: onnx.ModelProto, given: str, *, trust: bool) -> None:
    versions = {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in model.opset_import}
    known = frozenset(allowed.lists("onnx")["microsoft"] | allowed.lists("onnx")["quantized"])
    for node in nodes(model.graph):
        domain = _domain(node)
        where = f"{given}: the operator {domain + '.' if domain else ''}{node.op_type} ({node.name or 'no name'})"
        if domain in STANDARD:
            if not onnx.defs.has(node.op_type, versions.get(domain, 1), domain):
                raise UnsupportedError(
                    f"{where} is none of opset {versions.get(domain, 1)} of {domain or 'ONNX'}",
                    hint="Export it again; what is your own operator has to be written as operators of ONNX.",
                )
        elif domain != MICROSOFT:
            raise UnsupportedError(
                f"{where} is of a domain that ONNX Runtime does not know",
                hint="Export the model with operators of ONNX alone, or hand in the PyTorch or Keras model itself.",
            )
        elif not trust and node.op_type in allowed.lists("onnx")["refused"]:
            raise allowed.unsafe(given, f"the operator {domain}.{node.op_type} ({node.name or 'no name'})")
        elif not trust and node.op_type not in known:
            raise allowed.unknown(given, f"the operator {domain}.{node.op_type} ({node.name or 'no name'})")


def _check_names(model: onnx.ModelProto, given: str) -> None:
    """Names go into reports and onto terminals, and are looked for in data: they are text that can be seen."""
    for what, name in _names(model.graph):
        if not name.isprintable():
            raise UsageError(
                f"{given}: the {what} '{printable(name)}' has characters in its name that cannot be shown",
                hint="Rename it, and export the model again.",
            )


def _names(graph: onnx.GraphProto) -> Iterator[tuple[str, str]]:
    yield from (("input", value.name) for value in graph.input)
    yield from (("output", value.name) for value in graph.output)
    yield from (("weight", tensor.name) for tensor in graph.initializer)
    for node in graph.node:
        yield from (("operator", text) for text in (node.name, node.op_type, node.domain))
        yield from (("value", name) for name in node.output)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _names(body)
