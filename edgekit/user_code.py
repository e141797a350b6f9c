"""The user's own ``file.py:function``: what it depends on, and calling it in a child process."""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import random
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, UsageError

SEED = 0
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]+\n\s*(?P<code>[^\n]+)')


@dataclass(frozen=True)
class Function:
    """A function of the user's, as a step is asked to call it: its file's absolute path, its name, see ``sha256``."""

    path: str
    name: str
    sha256: str


def find(text: str, does: str) -> Function:
    """The function that ``file.py:function`` names; nothing of the file is run.

    Args:
        text: what the user typed.
        does: what such a function does, for the hint.

    Raises:
        UsageError: no such file, no Python, or nothing of that name in it.
    """
    given = re.fullmatch(r"(?s)(?P<path>.+\.py)(:(?P<function>[^:/]*))?", text)
    if given is None or not Path(given["path"]).is_file():
        raise UsageError(f"{text} is no function of a Python file", hint=f"Write it as file.py:function; it {does}.")
    path, name = Path(given["path"]), given["function"] or ""
    check(path, name, text, does)
    return Function(str(path.resolve()), name, sha256(path, name))


def check(path: Path, function: str, text: str, does: str) -> None:
    """Refuse a name that a Python file does not define; arguments and errors as of ``find``."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(f"{path} is not valid Python: {error}") from error
    defined = _defined(tree)
    if function not in defined:
        close = difflib.get_close_matches(function, defined, n=1)
        own = sorted(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
        example = (close or own or sorted(defined) or ["function"])[0]
        what = f"{path} has no function {function!r}" if function else f"{text} names no function"
        raise UsageError(
            f"{what}; the file defines: {', '.join(sorted(defined)) or 'none'}",
            hint=f"Write it as {path}:{example}; the function {does}.",
        )


def _defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    body = list(tree.body)
    while body:
        node = body.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        elif isinstance(node, ast.Try | ast.With) or (
            isinstance(node, ast.If) and "__main__" not in ast.dump(node.test)
        ):
            inside = [*ast.iter_child_nodes(node), *(s for h in getattr(node, "handlers", ()) for s in h.body)]
            body += [child for child in inside if isinstance(child, ast.stmt)]
    return {name for name in names if not name.startswith("__")}


def call(path: str, function: str, *arguments: Any, takes: str = "takes no arguments", **named: Any) -> Any:
    """Import the file with its folder on ``sys.path`` and call the function, seeds fixed.

    Args:
        path: of the file.
        function: its name.
        *arguments: of the call.
        **named: of the call, too.
        takes: what they are, for the hint.

    Raises:
        UsageError: the import or the call raised; the message has the user's own line.
    """
    import numpy as np

    random.seed(SEED)
    np.random.seed(SEED)  # the user's code may use the global generator
    with _beside_it_alone(Path(path)), blame(path, function, takes):
        made = getattr(_module(path), function)(*arguments, **named)
    _note(_named(Path(path)))
    return made


def source_line(text: str) -> str:
    """The innermost line of the user's own code in a Python traceback: ``file.py:26: code``; empty where none is."""
    frames = [match for match in _FRAME.finditer(text) if "site-packages" not in match["file"]]
    return f"{Path(frames[-1]['file']).name}:{frames[-1]['line']}: {frames[-1]['code'].strip()}" if frames else ""


@contextlib.contextmanager
def blame(path: str, function: str, takes: str = "takes no arguments") -> Iterator[None]:
    """Turn whatever the user's own code raises into a ``UsageError`` with its line; note the files that it reads."""
    global _ran
    _ran = True
    _paths.add(path)
    try:
        with _listening() as opened:
            yield
        _note(opened)
    except EdgekitError:  # of what it called
        raise
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise UsageError(
            f"{path}:{function} raised {type(error).__name__}: {error}{_where(error, path)}",
            hint=f"Call it yourself in Python; it {takes}.",
        ) from error


@contextlib.contextmanager
def _beside_it_alone(path: Path) -> Iterator[None]:
    """Let the user's file find the modules that it would find in a process of its own.

    This one may have imported an earlier text of those beside it, or others of the same names beside another file of
    the user's: ``utils.py`` lies in many folders. Those folders are found again behind all else when it has run, for
    what their code imports late. The program that runs stays, though it may be that file: Python and frameworks look it
    up by name.
    """
    folder, beside = str(path.parent), {str(file) for file in files(path)}
    others = [entry for entry in sys.path if entry in _folders and entry != folder]
    sys.path[:] = [entry for entry in sys.path if entry not in _folders]
    if folder not in sys.path:
        sys.path.insert(0, folder)
        _folders.add(folder)
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and file and (file in beside or _is_of_another(name, file, others)):
            del sys.modules[name]
    try:
        yield
    finally:
        sys.path += [entry for entry in others if entry not in sys.path]


def _is_of_another(name: str, file: str, folders: list[str]) -> bool:
    """Whether a module lies beside other files of the user's, and its name means another one now, or none."""
    top = name.partition(".")[0]
    starts = [start for folder in folders for start in (f"{folder}/{top}.py", f"{folder}/{top}/")]
    if not file.startswith(tuple(starts)):
        return False
    found = importlib.machinery.PathFinder.find_spec(top)
    return found is None or not (found.origin or "").startswith(tuple(starts))


def _module(path: str) -> Any:
    name = f"_edgekit_user_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # classes defined in it can then be looked up by name
    spec.loader.exec_module(module)
    return module


def _where(error: BaseException, path: str) -> str:
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f" (line {lines[-1].lineno}: {lines[-1].line})" if lines else ""


#: What the user's code read in this process, as it was then: see ``read``.
_read: dict[str, str | None] = {}
#: The user's files whose code ran in this process, and whether any did since ``read`` was asked.
_paths: set[str] = set()
_ran = False
#: Folders of such files that Python looks into for their sake.
_folders: set[str] = set()
_opened: set[str] | None = None
#: Endings of files that native code opens, which Python does not hear of.
_NATIVE = (".safetensors", ".h5", ".hdf5", ".pt")
#: Time and size of each at that moment: a file that is opened for each batch is hashed once.
_stamps: dict[str, tuple[int, int]] = {}


def read(arguments: object) -> dict[str, str | None]:
    """Files and folders that the user's code read for a request, each with the hash of what was there.

    That is all that it read in this process, since what one file's code imported, another's finds there; and nothing
    for a request that ran no such code and names no file whose code ran, of which a model may still be loaded.

    Seen are what Python opens and lists and, of what native code opens, the files that the user's code names as literal
    texts. Not seen is what other processes read for it. A relative path is relative to the current folder.
    """
    global _ran
    ran, _ran = _ran, False
    asked = json.dumps(arguments)
    return dict(_read) if ran or any(json.dumps(path)[1:-1] in asked for path in _paths) else {}


def changed(before: Mapping[str, str | None]) -> dict[str, str | None]:
    """What lies under the names of ``read`` now; empty where it is what was there."""
    now = {path: _hash(Path(path)) for path in before}
    return {} if now == dict(before) else now


def _hash(path: Path) -> str | None:
    try:
        if path.is_dir():
            return hashlib.sha256(
                "\0".join(sorted(p.name for p in path.iterdir())).encode("utf-8", "surrogateescape")
            ).hexdigest()
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _note(paths: set[str]) -> None:
    for path in sorted(paths):
        with contextlib.suppress(OSError):
            facts = Path(path).stat()
            stamp = facts.st_mtime_ns, facts.st_size
            if not _installed(path) and _stamps.get(path) != stamp and (found := _hash(Path(path))):
                _read[path], _stamps[path] = found, stamp


def _installed(path: str) -> bool:
    """Whether a file belongs to Python, to what is installed, or to the system: their versions are in the key."""
    ours = (sys.prefix, sys.base_prefix, str(Path(__file__).parent), "/proc", "/sys", "/dev", "/etc")
    return path.endswith(".pyc") or any(Path(path).absolute().is_relative_to(folder) for folder in ours)


@contextlib.contextmanager
def _listening() -> Iterator[set[str]]:
    """Collect what is opened for reading or listed, by Python's audit events."""
    global _opened
    _add_hook()
    before, _opened = _opened, set()
    try:
        yield _opened
    finally:
        _opened = before


@functools.cache
def _add_hook() -> None:
    start = Path.cwd()

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if _opened is None or event not in ("open", "os.listdir", "os.scandir"):
            return
        if event == "open":
            _, mode, flags = arguments
            if (mode and "+" not in mode and set(mode) & set("wax")) or (flags or 0) & os.O_ACCMODE == os.O_WRONLY:
                return
        elif "importlib" in sys._getframe(1).f_code.co_filename:
            return  # Python looks for a module; the one that it finds is opened
        if isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0])
            _opened.add(path if Path.cwd() == start else str(Path(path).absolute()))

    sys.addaudithook(hear)


def _named(path: Path) -> set[str]:
    """Files for native code, beside the user's code or in the current folder, that it names as literal texts."""
    found = set[str]()
    for file in files(path):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError, OSError):
            texts = {n.value for n in ast.walk(ast.parse(file.read_bytes())) if isinstance(n, ast.Constant)}
            names = {text for text in texts if isinstance(text, str) and text.endswith(_NATIVE)}
            found |= {str(p) for name in names for p in (file.parent / name, Path(name)) if p.is_file()}
    return found


def sha256(path: Path, function: str) -> str:
    """Hash of what a function may depend on: the file and those beside it that it imports, and installed versions.

    Versions are those of all distributions that these files import by name. What these import in turn and packages
    that are edited where they are installed are not seen. Files that are read are known once it ran: ``read``.
    """
    path = path.resolve()
    found = sorted(files(path))
    names = set[str]().union(*(imports(each) for each in found)) - sys.stdlib_module_names
    digest = hashlib.sha256(f"{function}\0{_versions(names)}".encode())
    for each in found:
        text = hashlib.sha256(each.read_bytes()).hexdigest()
        digest.update(f"\0{each.relative_to(path.parent).as_posix()}\0{text}".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def files(path: Path) -> set[Path]:
    """The file and the modules and packages in its folder that it imports, directly or not."""
    return _imported_beside(path.resolve(), set())


def _imported_beside(path: Path, seen: set[Path]) -> set[Path]:
    if path in seen:
        return seen
    seen.add(path)
    for name in imports(path):
        module, package = path.parent / f"{name}.py", path.parent / name
        if module.is_file():
            _imported_beside(module, seen)
        elif (package / "__init__.py").is_file():
            seen |= set(package.rglob("*.py"))
    return seen


def imports(path: Path) -> set[str]:
    """First parts of the modules that a Python file imports anywhere in it."""
    found: set[str] = set()
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found  # a file beside the user's own; Python itself reports it, with its line, if it is imported
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or alias.name).split(".")[0] for alias in node.names}
    return found


def _versions(names: set[str]) -> list[tuple[str, str]]:
    """The installed distributions that bring modules of these names, with their versions."""
    brought = _distributions()
    found = {distribution for name in names for distribution in brought.get(name, ())}
    return [(distribution, importlib.metadata.version(distribution)) for distribution in sorted(found)]


#: It reads the records of everything that is installed.
_distributions = functools.cache(importlib.metadata.packages_distributions)
