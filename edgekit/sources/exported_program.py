"""What ``torch.export.save`` writes: a graph as JSON, weights as bytes, and texts that loading runs as Python.

``torch.export.load`` of PyTorch 2.13 takes an operator by its dotted name below ``torch``, evaluates the sizes of
shapes with sympy, executes guards, writes names of arguments and tensors into the text of a function that it then
executes, imports what a structure of inputs names, and unpickles whatever is not stored as bytes. So each of these has
a grammar here, and every other string is held to what a name is made of.
"""

from __future__ import annotations

import ast
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from edgekit.data import archives
from edgekit.errors import DamagedFileError
from edgekit.sources import allowed, documents, pickles

#: Below the one folder of the archive. What else may lie there is compiled code, or pickled.
_MEMBERS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version|\.storage_alignment|"
    r"models/model\.json|data/(weights|constants)/model(_weights|_constants)?(_config\.json|\.pt)|"
    r"data/weights/weight_\d+|data/constants/tensor_\d+|data/sample_inputs/model\.pt|extra/.+"
)
_PAYLOAD = re.compile(r"(weight|tensor)_\d+")
_IDENTIFIER = re.compile(r"\*{0,2}[A-Za-z_][A-Za-z0-9_]*|")
_DOTTED = re.compile(r"[A-Za-z0-9_.:+\-]*")
_SYMBOL = re.compile(r"[a-z]{1,4}\d+")
_PLAIN = re.compile(r"[a-z]{1,4}\d+|[\d.+\-e]+")
#: Containers that arguments and results are put into; others import what they name.
_CONTAINERS = frozenset({
    "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict",
    "torch.fx.immutable_collections.immutable_list", "torch.fx.immutable_collections.immutable_dict",
})  # fmt: skip
#: Keys of a dict of arguments or results: they are written into error messages that are part of a program's text.
_KEY = re.compile(r"[\w.\- ]*", re.ASCII)


def check_archive(opened: zipfile.ZipFile, given: str, *, trust: bool) -> None:
    """Look at what loading would read.

    Raises:
        DamagedFileError: a member is missing, altered, or not what it says.
        UnsafeInputError: compiled code, pickles of more than tensors, a text that is run and does more than compute.
        UnsupportedError: an operator, a function or a container that is on no list.
    """
    root, members = _members(opened, given, trust=trust)
    for needed in ("models/model.json", "archive_format", "archive_version"):
        if needed not in members:
            raise DamagedFileError(f"{given} holds no {needed}", hint="Save it again with torch.export.save.")
    for member in filter(_MEMBERS.fullmatch, members):
        if member.endswith(".json"):
            name = f"{given}: {member}"
            found = documents.read_json(archives.read(opened, f"{root}/{member}", given, documents.MOST_BYTES), name)
            if not trust:
                _check_program(found, given) if member.startswith("models/") else _check_payloads(found, member, given)
        elif member.endswith(".pt") and not trust:
            pickles.check_tensors(archives.read(opened, f"{root}/{member}", given, _MOST_PICKLED), member, given)


_MOST_PICKLED = 4 << 30


def _members(opened: zipfile.ZipFile, given: str, *, trust: bool) -> tuple[str, list[str]]:
    """The archive's folder, and its members below that."""
    names = [name for name in opened.namelist() if not name.endswith("/")]
    roots = {name.partition("/")[0] for name in names}
    if len(roots) != 1:
        raise DamagedFileError(f"{given} holds {len(roots)} folders where a torch.export archive has one")
    root = roots.pop()
    members = [name.removeprefix(f"{root}/") for name in names]
    for member in members if not trust else ():
        if not _MEMBERS.fullmatch(member):
            raise allowed.unsafe(given, f"{member!r}, which is no part of a graph and its weights")
    return root, members


def _check_payloads(document: Any, member: str, given: str) -> None:
    """Weights and constants: stored as bytes, under a name of their own."""
    try:
        entries = list(document["config"].values())
        for entry in entries:
            if entry["use_pickle"] is not False or not _PAYLOAD.fullmatch(entry["path_name"]):
                raise allowed.unsafe(given, f"{member!r} has a pickled object in {entry['path_name']!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{given}: {member} cannot be read: {error!r}") from error
    _check_strings(document, given)


def _check_program(document: Any, given: str) -> None:
    if not isinstance(document, dict) or "graph_module" not in document:
        raise DamagedFileError(f"{given} holds no graph", hint="Save it again with torch.export.save.")
    _check_strings(document, given)


def _check_strings(document: Any, given: str) -> None:
    """Hold every string of a document to what stands in its place."""
    todo: list[tuple[str, Any]] = [("", document)]
    while todo:
        key, value = todo.pop()
        if isinstance(value, dict):
            if key in ("custom_obj_values", "custom_obj", "as_custom_obj") and value:
                raise allowed.unknown(given, "it holds objects of a class in C++")
            if key in ("metadata", "as_string"):
                continue  # texts that are kept and never run
            for name in value:
                _check_name(key, name, given)
            todo += value.items()
        elif isinstance(value, list):
            todo += ((key, inner) for inner in value)
        elif isinstance(value, str):
            _check_text(key, value, given)


def _check_name(key: str, name: str, given: str) -> None:
    if key == "range_constraints":
        _check_expression(name, given)
    elif not _DOTTED.fullmatch(name):
        raise allowed.unsafe(given, f"the name {name[:80]!r}")


def _check_text(key: str, text: str, given: str) -> None:
    if key in ("target", "as_operator"):
        _check_operator(text, given)
    elif key == "expr_str":
        _check_expression(text, given)
    elif key == "guards_code":
        _check_guard(text, given)
    elif key in ("in_spec", "out_spec"):
        _check_containers(documents.read_json(text, f"{given}: {key}"), given)
    elif key not in ("as_string", "as_strings"):
        pattern = _IDENTIFIER if key in ("name", "as_name", "forward_arg_names") else _DOTTED
        if not pattern.fullmatch(text):
            raise allowed.unsafe(given, f"the {key} {text[:80]!r}")


def _check_operator(target: str, given: str) -> None:
    lists, parts = allowed.lists("torch"), target.split(".")
    if parts[:2] == ["torch", "ops"] and len(parts) in (4, 5):
        namespace, name = parts[2:4]
        if name in lists.get(namespace, ()) and namespace in ("aten", "prims", "higher_order", "quantized_decomposed"):
            return
        if f"{namespace}::{name}" in lists["refused"]:
            raise allowed.unsafe(given, f"it calls {target}")
        raise allowed.unknown(given, f"it calls the operator {target}")
    key = {"_operator": "operator", "math": "math", "torch": "torch"}.get(parts[0], "")
    if len(parts) != 2 or parts[1] not in lists.get(key, ()):
        raise allowed.unsafe(given, f"it calls {target[:80]}")


def _check_expression(text: str, given: str) -> None:
    """A size is arithmetic on symbols, as sympy writes it: ``s0 + 1``, ``Add(Symbol('s0'), Integer(1))``."""
    if not _is_made_of(text, _ARITHMETIC, _stands_in_a_size):
        raise allowed.unsafe(given, f"the size {text[:80]!r} is evaluated")


def _check_guard(text: str, given: str) -> None:
    """A guard is a comparison of sizes of inputs: ``L['x'].size()[0] == L['y'].size()[0]``."""
    if not _is_made_of(text, (*_ARITHMETIC, ast.Subscript), _stands_in_a_guard):
        raise allowed.unsafe(given, f"the guard {text[:80]!r} is executed")


_ARITHMETIC = (
    ast.Expression, ast.BoolOp, ast.Compare, ast.BinOp, ast.UnaryOp, ast.Call, ast.Load,
    ast.boolop, ast.cmpop, ast.operator, ast.unaryop,
)  # fmt: skip


def _is_made_of(text: str, kinds: tuple[type[ast.AST], ...], stands: Callable[[ast.AST], bool]) -> bool:
    """Whether a text is one Python expression on one line, made of these kinds of nodes and what else may stand."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if re.search(r"[#\\\"\n\r\f;{}]", text):
        return False
    return all(isinstance(node, kinds) or stands(node) for node in ast.walk(tree))


def _stands_in_a_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return node.id in allowed.lists("torch")["shapes"] or bool(_SYMBOL.fullmatch(node.id))
    # A string is the name of a symbol, or a number: nothing that sympy would evaluate again.
    return _is_constant(node, _PLAIN) or (isinstance(node, ast.keyword) and node.arg is not None)


def _stands_in_a_guard(node: ast.AST) -> bool:
    lists = allowed.lists("torch")
    if isinstance(node, ast.Name):
        return node.id in lists["shapes"] | lists["guards"] or bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Attribute):
        return node.attr in lists["guard_attributes"]
    return _is_constant(node, _KEY)


def _is_constant(node: ast.AST, text: re.Pattern[str]) -> bool:
    """Whether a node is a number, or a text of this pattern."""
    if not isinstance(node, ast.Constant):
        return False
    return isinstance(node.value, int | float) or (isinstance(node.value, str) and bool(text.fullmatch(node.value)))


def _check_containers(spec: Any, given: str) -> None:
    for kind, context in _containers(spec, given):
        if kind is not None and kind not in _CONTAINERS:
            raise allowed.unknown(given, f"it takes or returns a {kind}")
        keys = context if isinstance(context, list) else []
        if not all(isinstance(key, int) or (isinstance(key, str) and _KEY.fullmatch(key)) for key in keys):
            raise allowed.unsafe(given, f"the keys {str(keys)[:80]}")
        if context not in (None, []) and not keys:
            raise allowed.unknown(given, f"it takes or returns a {kind} of {str(context)[:80]}")


def _containers(spec: Any, given: str) -> Iterator[tuple[str | None, Any]]:
    """Type and context of every container in a ``TreeSpec`` as ``[version, node]``."""
    try:
        todo = [spec[1]]
        while todo:
            node = todo.pop()
            context = node["context"]
            yield node["type"], documents.read_json(context, f"{given}: a container") if context else None
            todo += node["children_spec"]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{given} has a structure of arguments that is none: {error!r}") from error
