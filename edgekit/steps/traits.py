"""What a model's graph is made of in its framework: for float targets, whose file is still to be made."""

from __future__ import annotations

from edgekit.steps import Json
from edgekit.steps.load import load
from edgekit.toolchains._shared import tensorflow_graph, torch_graph
from edgekit.toolchains._shared.traits import find


def run(folder: str, source: Json, environment: str) -> Json:
    """Its traits, sorted; of a file, see ``audit.py``."""
    loaded = load(source, environment)
    module = torch_graph if environment == "torch" else tensorflow_graph
    return sorted(find(module.graph(loaded), loaded.signature.state))
