"""coremltools' protobuf classes without coremltools.

``import coremltools`` costs 7 s of CPU and its own loader rebuilds the program through its builder, which infers
types and values on the way: that is the code that the evaluator is to check. The classes that Apple's compiler
generated from the published format lie in ``coremltools/proto`` and need nothing but protobuf: 0.04 s.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from edgekit.errors import MissingDependencyError

_PACKAGE = "_coremltools_proto"


@functools.cache
def _module(name: str) -> ModuleType:
    if _PACKAGE not in sys.modules:
        found = importlib.util.find_spec("coremltools")
        if found is None or not found.submodule_search_locations:
            raise MissingDependencyError(
                "reading an ML Program needs coremltools", hint="pip install 'edgekit[coreml]'"
            )
        spec = ModuleSpec(_PACKAGE, None, is_package=True)
        spec.submodule_search_locations = [str(Path(found.submodule_search_locations[0]) / "proto")]
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{_PACKAGE}.{name}")


def model() -> Any:
    """Return an empty ``CoreML.Specification.Model`` message."""
    return _module("Model_pb2").Model()


def mil() -> Any:
    """Return the module of the ML Program messages."""
    return _module("MIL_pb2")


def feature_types() -> Any:
    """Return the module of the messages that describe inputs and outputs."""
    return _module("FeatureTypes_pb2")
