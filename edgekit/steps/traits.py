"""What a model's graph is made of in its framework: for float targets, whose file is still to be made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.frameworks.once import load
from edgekit.signature import Trait
from edgekit.sources.source import Source
from edgekit.toolchains._shared import tensorflow_graph, torch_graph
from edgekit.toolchains._shared.traits import find


@dataclass(frozen=True)
class Request:
    """A model, and the kind of child that loads it."""

    source: Source
    environment: str


def run(folder: Path, request: Request) -> frozenset[Trait]:
    """Its traits; of a file, see ``audit.py``."""
    loaded = load(request.source, request.environment)
    if request.environment == "onnx":
        from edgekit.toolchains.onnx.traits import of  # onnx is not installed everywhere

        return find(of(loaded.native.graph), loaded.signature.state)
    module = torch_graph if request.environment in ("torch", "keras-torch") else tensorflow_graph
    return find(module.graph(loaded), loaded.signature.state)
