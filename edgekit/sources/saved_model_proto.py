"""Reads which operators a TensorFlow SavedModel holds, without TensorFlow.

``saved_model.pb`` is a protocol buffer; only the few fields that matter here are followed (numbers from
tensorflow/core/protobuf/{saved_model,meta_graph}.proto and framework/{graph,function,node_def,attr_value}.proto).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import DamagedFileError

#: Operators that read or write files, run Python, reach other hosts, or log to a place of the file's choice.
_DANGEROUS = re.compile(
    r"File|Reader|Dataset|PyFunc|Summary|^Save|^Restore|Checkpoint|^Print|^Debug|^Dump|Rpc|Remote|Lmdb|^Xla.*Host"
)
#: A SavedModel saves and restores its own variables with these, in functions that its other functions do not call.
_OWN_VARIABLES = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}
_SAVER_FUNCTION = re.compile(r"__inference__traced_(save|restore)(_\d+)?")


@dataclass(frozen=True)
class Graphs:
    """Operators of a SavedModel.

    Attributes:
        main: operators of the top-level graphs.
        functions: operators of each function, by the function's name.
        calls: names of functions that each function refers to.
        signatures: names of the serving signatures.
    """

    main: frozenset[str]
    functions: dict[str, frozenset[str]]
    calls: dict[str, frozenset[str]]
    signatures: tuple[str, ...]


def read(folder: Path) -> Graphs:
    """Parse ``saved_model.pb``; raises ``DamagedFileError`` where it is not a whole protocol buffer."""
    path = folder / "saved_model.pb"
    main: set[str] = set()
    functions: dict[str, frozenset[str]] = {}
    calls: dict[str, frozenset[str]] = {}
    signatures: list[str] = []
    try:
        data = path.read_bytes()
        for meta in _messages(data, 2):
            for entry in _messages(meta, 5):
                signatures += [key.decode() for key in _messages(entry, 1)]
            for graph in _messages(meta, 2):
                main |= {_text(node, 2) for node in _messages(graph, 1)}
                for library in _messages(graph, 2):
                    for function in _messages(library, 1):
                        name = "".join(_text(signature, 1) for signature in _messages(function, 1))
                        body = list(_messages(function, 3))
                        functions[name] = frozenset(_text(node, 2) for node in body)
                        calls[name] = functions[name] | {called for node in body for called in _called(node)}
    except (ValueError, IndexError, UnicodeDecodeError, OSError) as error:
        raise DamagedFileError(f"{path} is not a whole SavedModel: {error}", hint="Save the model again.") from error
    if not main and not functions:
        raise DamagedFileError(f"{path} holds no graph", hint="Save the model again.")
    return Graphs(frozenset(main), functions, calls, tuple(s for s in signatures if not s.startswith("__")))


def dangerous_op(graphs: Graphs) -> str | None:
    """Name the first operator that does more than compute, and where it is; None where there is none."""
    savers = {name for name in graphs.functions if _SAVER_FUNCTION.fullmatch(name)}
    for name, called in graphs.calls.items():
        if name not in savers and called & savers:
            return f"function {name!r} saves or restores variables by itself"
    for where, ops in [("the main graph", graphs.main), *graphs.functions.items()]:
        allowed = _OWN_VARIABLES if where == "the main graph" or where in savers else set()
        for op in sorted(ops - allowed):
            if _DANGEROUS.search(op):
                return f"operator {op} in {where}"
    return None


def _called(node: bytes) -> Iterator[str]:
    """Names of functions in a NodeDef's attributes (AttrValue.func, AttrValue.list.func)."""
    for entry in _messages(node, 5):
        for value in _messages(entry, 2):
            for function in (*_messages(value, 10), *(f for many in _messages(value, 1) for f in _messages(many, 9))):
                yield _text(function, 1)


def _text(message: bytes, number: int) -> str:
    return next((value.decode() for value in _messages(message, number)), "")


def _messages(data: bytes, number: int) -> Iterator[bytes]:
    """Length-delimited fields of one number; the whole message is walked, so that damage shows."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            size, at = _varint(data, at)
            if key >> 3 == number and at + size <= len(data):
                yield data[at : at + size]
            at += size
        else:
            raise ValueError(f"field type {wire} at byte {at}")
    if at != len(data):
        raise ValueError("it ends in the middle of a field")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"number too long at byte {at}")
