"""What ``torch.jit.save`` writes: TorchScript, a language of a thousand operators that compute and two that do not.

Its text is read here by the rules of PyTorch's own lexer (torch/csrc/jit/frontend/lexer.h of 2.13), narrowed to what
its printer writes: no comments, no continued lines, double-quoted strings on one line. Operators are called as
``torch.relu(x)``, as ``ops.aten.relu(x)``, as a method of any value, ``x.relu()``, or by ``getattr(x, "relu")``.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence

from edgekit.data import archives
from edgekit.errors import DamagedFileError
from edgekit.sources import allowed, pickles

#: Below the one folder of the archive; another layout is a format of an older version.
_MEMBERS = re.compile(
    r"data/\d+|data\.pkl|constants/\d+|constants\.pkl|traced_inputs/\d+|traced_inputs\.pkl|code/.+\.py(\.debug_pkl)?|"
    r"version|byteorder|\.data/\w+|\.format_version|\.storage_alignment|extra/.+"
)
_MOST_CODE = 64 << 20
_MOST_PICKLED = 256 << 20
_TOKEN = re.compile(
    r"[ \t]+|\n|(?P<number>(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?j?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|"
    r'(?P<string>"(?:[^"\\\n]|\\[^\n])*"(?!"))|'
    r"(?P<sign>\.\.\.|->|\*\*=?|//|<<=?|>>=?|[<>=!]=|[-+*/%|&^]=|[-+*/%@=<>()\[\]{},:.|&^~])"
)
#: Names that stand for a namespace: what follows the dot is an operator.
_NAMESPACES = ("torch", "ops")
_REMOTE = ("rpc_async", "rpc_sync", "rpc_remote")


def is_torchscript(members: Sequence[str]) -> bool:
    """Whether a zip's members are those of TorchScript, and not of what ``torch.save`` writes."""
    return any(m.endswith("constants.pkl") for m in members) and any("/code/" in m for m in members)


def check_archive(opened: zipfile.ZipFile, given: str, *, trust: bool) -> None:
    """Look at all code in it, and at the classes of its pickles (which PyTorch reads without Python).

    Raises:
        DamagedFileError: code that is none, a pickle that is none.
        UnsafeInputError: an operator that reads or writes a file, or runs code elsewhere.
        UnsupportedError: an operator or a class that is on no list; an older format.
    """
    names = [name for name in opened.namelist() if not name.endswith("/")]
    roots = {name.partition("/")[0] for name in names}
    for name in names if not trust else ():
        member = name.partition("/")[2]
        if len(roots) > 1 or not _MEMBERS.fullmatch(member):
            raise allowed.unknown(given, f"it holds {name!r}")
        if member.endswith(".py"):
            _check_code(archives.read(opened, name, given, _MOST_CODE), member, given)
        elif member in ("data.pkl", "constants.pkl"):
            _check_classes(archives.read(opened, name, given, _MOST_PICKLED), member, given)


def _check_classes(data: bytes, member: str, given: str) -> None:
    for found in pickles.imported(data, f"{given}: {member!r}"):
        if ".classes." in found.replace(" ", "."):
            raise allowed.unknown(given, f"it holds an object of the class {found.replace(' ', '.')}")


def _check_code(code: bytes, member: str, given: str) -> None:
    words = _tokens(code, member, given)
    for at, word in enumerate(words):
        if not word.isidentifier():
            continue
        follows = words[at + 1 :]
        if at and words[at - 1] == ".":
            if f"aten::{word}" in allowed.lists("torch")["refused"]:
                raise allowed.unsafe(given, f"{member!r} calls {word}")
        elif word in _REMOTE:
            raise allowed.unsafe(given, f"{member!r} calls {word}")
        elif word in _NAMESPACES:
            _check_call(word, follows[:5], member, given)
        elif word == "getattr":
            _check_getattr(follows, member, given)
        elif word == "__torch__" and follows[:4] == [".", "torch", ".", "classes"]:
            raise allowed.unknown(given, f"{member!r} uses a class of C++")


def _tokens(code: bytes, member: str, given: str) -> list[str]:
    try:
        text = code.decode("ascii")
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{given}: {member!r} is no TorchScript: {error}") from error
    tokens, at = [], 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            line = text.count("\n", 0, at) + 1
            raise allowed.unknown(given, f"{member!r} has {text[at : at + 20]!r} in line {line}")
        if not token[0].isspace():
            tokens.append(token[0])
        at = token.end()
    return tokens


def _check_call(root: str, follows: Sequence[str], member: str, given: str) -> None:
    """``torch.NAME`` or ``ops.NAMESPACE.NAME``, written out: a namespace is not handed on under another name."""
    lists = allowed.lists("torch")
    if root == "torch":
        namespace, (dot, name) = "aten", (*follows, "", "")[:2]
        signs = [dot]
    else:
        first, namespace, second, name = (*follows, "", "", "", "")[:4]
        signs = [first, second]
    if any(sign != "." for sign in signs) or not name.isidentifier():
        raise allowed.unsafe(given, f"{member!r} hands {root} on")
    if f"{namespace}::{name}" in lists["refused"]:
        raise allowed.unsafe(given, f"{member!r} calls {namespace}::{name}")
    if namespace not in ("aten", "prim", "prims") or name not in lists[namespace]:
        raise allowed.unknown(given, f"it calls the operator {namespace}::{name}")


def _check_getattr(follows: Sequence[str], member: str, given: str) -> None:
    """``getattr(value, "name")``, the name in one plain string."""
    inside = _in_brackets(follows)
    name = inside[-1].strip('"') if inside else ""
    plain = len(inside) > 2 and inside[-2] == "," and re.fullmatch(r'"\w+"', inside[-1])
    if not plain or f"aten::{name}" in allowed.lists("torch")["refused"]:
        raise allowed.unsafe(given, f"{member!r} takes the attribute {name!r}")


def _in_brackets(words: Sequence[str]) -> Sequence[str]:
    """What stands between the bracket that the words begin with and the one that closes it."""
    depth = 0
    for at, word in enumerate(words):
        depth += (word in ("(", "[", "{")) - (word in (")", "]", "}"))
        if depth == 0:
            return words[1:at]
    return ()
