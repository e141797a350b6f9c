"""What a model's graph is made of in its framework: for float targets, whose file is still to be made."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from edgekit.frameworks.once import load
from edgekit.signature import Trait
from edgekit.sources.source import Source
from edgekit.toolchains._shared import tensorflow_graph, torch_graph
from edgekit.toolchains._shared.traits import find


@dataclass(frozen=True)
class Request:
    """A model, the kind of child that loads it, and the toolchain whose format its graph is in already, if any."""

    source: Source
    environment: str
    toolchain: str | None = None


def run(folder: Path, request: Request) -> frozenset[Trait]:
    """Its traits; of a file, see ``audit.py``."""
    loaded = load(request.source, request.environment)
    if request.toolchain is not None:  # named in the request, so that other models' keys do not depend on it
        of_format = importlib.import_module(f"edgekit.toolchains.{request.toolchain}.traits")
        return find(of_format.of(loaded.native.graph), loaded.signature.state)
    module = torch_graph if request.environment in ("torch", "keras-torch") else tensorflow_graph
    return find(module.graph(loaded), loaded.signature.state)
