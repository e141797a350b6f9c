"""ONNX models that somebody hands in: read with the weights beside them, checked, and written anew as one file.

What is checked is what is loaded: the copy is written from the message that was parsed, so that there is one reading of
it. Weights in other files come in with it; a tensor may name any file, and only those below the model's own folder are
taken, as the parent handed them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError, EncodeError

from edgekit.errors import DamagedFileError, UnsupportedError, UsageError, printable
from edgekit.sources import allowed
from edgekit.sources.onnx_file import parts

#: Distributions whose versions change what is done here.
PACKAGES = ("onnx", "protobuf")

#: ONNX's own domains; operators of all others need code that somebody wrote.
STANDARD = ("", "ai.onnx", "ai.onnx.ml")
MICROSOFT = "com.microsoft"


def parse(path: Path, given: str) -> onnx.ModelProto:
    """Read a model without the weights that lie in other files.

    Raises:
        DamagedFileError: truncated, altered, or no ONNX model.
        UnsupportedError: of a later version than the installed package knows, or larger than one file can be.
    """
    if path.stat().st_size > parts.MOST_BYTES:
        raise parts.too_large(given)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise DamagedFileError(f"{given} is not an ONNX model: it cannot be parsed", hint=parts.AGAIN) from error
    if not model.HasField("graph") or not model.ir_version:
        raise DamagedFileError(f"{given} is not an ONNX model: it has no graph", hint=parts.AGAIN)
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


def beside(model: onnx.ModelProto, given: str) -> tuple[str, ...]:
    """The files of weights that a model names, relative to its folder.

    Raises:
        DamagedFileError: one has no name.
        UnsafeInputError: one of them lies elsewhere.
    """
    found: dict[str, None] = {}
    for tensor in parts.outside(model):
        location = parts.located(tensor, given)
        if not parts.lies_below(location):
            raise parts.elsewhere(tensor, given)
        found[location] = None
    return tuple(sorted(found))


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
            parts.check_functions(model, given)
            model = onnx.inliner.inline_local_functions(model)
        parts.put_in_order(model.graph)
        _check_operators(model, given, trust=trust)
        if not model.graph.node:
            raise UsageError(f"{given} computes nothing: its graph has no operator", hint=parts.AGAIN)
        copy = folder / "model.onnx"
        copy.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(copy), full_check=True)
    except EncodeError as error:
        raise parts.too_large(given) from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).replace(str(folder), "").split())[:400]
        raise DamagedFileError(f"{given} is not a valid ONNX model: {said}", hint=parts.AGAIN) from error
    return copy


def _bring_in(model: onnx.ModelProto, given: str, files: Mapping[str, Path]) -> None:
    """Put the weights that lie in other files into the model."""
    total = model.ByteSize()
    for tensor in parts.outside(model):
        offset, length = parts.span(tensor, given, files)
        total += length
        if total > parts.MOST_BYTES:
            raise parts.too_large(given)
        with files[parts.stored_at(tensor)["location"]].open("rb") as opened:
            opened.seek(offset)
            tensor.raw_data = opened.read(length)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _check_operators(model: onnx.ModelProto, given: str, *, trust: bool) -> None:
    versions = {("" if o.domain == "ai.onnx" else o.domain): int(o.version) for o in model.opset_import}
    known = frozenset(allowed.lists("onnx")["microsoft"] | allowed.lists("onnx")["quantized"])
    for node in parts.nodes(model.graph):
        domain = parts.domain_of(node)
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
