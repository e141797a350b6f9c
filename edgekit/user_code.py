"""The user's own ``file.py:function``: what it depends on, and calling it in a child process."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import random
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError

SEED = 0
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]+\n\s*(?P<code>[^\n]+)')


def call(path: str, function: str) -> Any:
    """Import the file with its folder on ``sys.path`` and call the function without arguments, seeds fixed.

    Raises:
        UsageError: the import or the call raised; the message has the user's own line.
    """
    import numpy as np

    folder = str(Path(path).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    random.seed(SEED)
    np.random.seed(SEED)  # the user's code may use the global generator
    with blame(path, function):
        return getattr(_module(path), function)()


def source_line(text: str) -> str:
    """The innermost line of the user's own code in a Python traceback: ``file.py:26: code``; empty where none is."""
    frames = [match for match in _FRAME.finditer(text) if "site-packages" not in match["file"]]
    return f"{Path(frames[-1]['file']).name}:{frames[-1]['line']}: {frames[-1]['code'].strip()}" if frames else ""


@contextlib.contextmanager
def blame(path: str, function: str) -> Iterator[None]:
    """Turn whatever the user's own code raises into a ``UsageError`` with its line."""
    try:
        yield
    except (Exception, SystemExit) as error:  # the user's own code may raise anything
        raise UsageError(
            f"{path}:{function} raised {type(error).__name__}: {error}{_where(error, path)}",
            hint="Call it yourself in Python; it takes no arguments.",
        ) from error


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


def sha256(path: Path, function: str) -> str:
    """Hash of what a function may depend on: the file and those beside it that it imports, and installed versions.

    Versions are those of all distributions that these files import by name. What these import in turn, files that are
    read, and packages that are edited where they are installed are not seen.
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
