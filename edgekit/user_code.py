"""Calling the user's own ``file.py:function``, in a child process."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import UsageError

SEED = 0
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in [^\n]+\n\s*(?P<code>[^\n]+)')


def call(path: str, function: str) -> Any:
    """Import the file with its folder on ``sys.path`` and call the function without arguments, seeds fixed.

    Raises:
        UsageError: the import or the call raised; the message has the user's own line.
    """
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
