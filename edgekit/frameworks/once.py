"""Loading a source in the child of its framework, once."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from edgekit import frameworks
from edgekit.frameworks import LoadedModel
from edgekit.sources.source import Source


def framework(environment: str) -> ModuleType:
    """Import the module that loads models in this kind of child."""
    return importlib.import_module(f"edgekit.frameworks.{frameworks.KINDS[environment].module}")


@functools.lru_cache(maxsize=1)
def _load(source: Source, environment: str) -> LoadedModel:
    """Load a source once per child."""
    loaded: LoadedModel = framework(environment).load(source)
    return loaded


def load(source: Source, environment: str, *, anew: bool = False) -> LoadedModel:
    """Load a source, or return the one that is loaded already; ``anew`` where the files that it reads may be others."""
    if anew:
        _load.cache_clear()
    return _load(source, environment)


def forget() -> None:
    """Drop the model that is loaded: something changed it."""
    _load.cache_clear()
