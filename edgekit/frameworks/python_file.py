"""Calling the user's ``file.py:function``, in a framework's child process."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import UsageError
from edgekit.frameworks import optional
from edgekit.signature import Framework
from edgekit.source import Source

SEED = 0


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
    if "keras" in sys.modules:
        optional.seed_keras(sys.modules["keras"], SEED)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(SEED)
    with blame(path, function):
        return getattr(_module(path), function)()


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


def framework_of(model: Any) -> Framework | None:
    """Whose model an object is, without importing a framework; None where it is no model.

    A Keras model on the torch backend is also a ``torch.nn.Module``, so Keras is looked for first.
    """
    classes = [f"{c.__module__}.{c.__qualname__}" for c in type(model).__mro__]
    if any(c.split(".")[0] in ("keras", "tf_keras") and c.endswith(".Model") for c in classes):
        return "keras"
    return "torch" if "torch.nn.modules.module.Module" in classes else None


def model_from(source: Source) -> Any:
    """Call the source's function and check that it returned a model.

    Raises:
        UsageError: it raised, or returned something else.
    """
    assert source.path is not None and source.function is not None
    made = call(source.path, source.function)
    if framework_of(made) is None:
        raise UsageError(
            f"{source.given} returned a {type(made).__name__}; allowed: torch.nn.Module, keras.Model",
            hint="Return the model itself, not a class or a list.",
        )
    return made


def identify(source: Source) -> Framework:
    """Which framework's model the function returns; only needed where ``source.framework`` is None."""
    found = framework_of(model_from(source))
    assert found is not None
    return found
