"""Finding what a graph is made of, for the routes that some graphs do not take."""

from __future__ import annotations

from pathlib import Path

from edgekit import toolchains
from edgekit.signature import Signature
from edgekit.steps import Json
from edgekit.steps.load import load


def run(folder: str, toolchain_name: str, file: str, signature: Json) -> Json:
    """The traits of a proven float file, sorted."""
    return sorted(toolchains.traits_of(toolchain_name, Path(file), Signature.from_json(signature).state))


def source(folder: str, source: Json, environment: str) -> Json:
    """The traits of a model in its framework, sorted: for float targets, whose file is still to be made."""
    from edgekit.toolchains._shared import tensorflow_graph, torch_graph, traits

    loaded = load(source, environment)
    module = torch_graph if environment == "torch" else tensorflow_graph
    return sorted(traits.find(module.graph(loaded), loaded.signature.state))
