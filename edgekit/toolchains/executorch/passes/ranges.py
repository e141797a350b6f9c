"""Ranges of activations in a .pte file, and the values of the graph that it was made of: files name no tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.frameworks import LoadedModel
from edgekit.scheme import Range
from edgekit.toolchains._shared.calibration import one_by_one
from edgekit.toolchains.executorch.audit import inspect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.toolchains import Rows


def read(file: Path) -> tuple[Range, ...]:
    """The ranges of activations, and of constants beside them, of one scale and 8 bits in the delegates, by numbers."""
    found = {
        (number, value.number): Range.of_steps(f"{number}/{value.number}", value.scales[0], value.zero_point)
        for number, nodes in enumerate(inspect(file).nodes)
        for node in nodes
        for value in (*node.inputs, node.output)
        if value.type == "int8" and not value.dynamic and len(value.scales) == 1
    }
    return tuple(found.values())


def of_graph(model: LoadedModel, names: Collection[str], samples: Mapping[str, Rows]) -> dict[str, list[NDArray[Any]]]:
    """What nodes of the graph that the quantizer gets are on each of some samples."""
    import torch
    from torch import fx

    from edgekit.toolchains.executorch.export import graph_of

    found: dict[str, list[NDArray[Any]]] = {}

    class Watched(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if n.name in names and isinstance(value, torch.Tensor) and value.is_floating_point():
                found.setdefault(n.name, []).append(value.detach().numpy().copy())
            return value

    graph = graph_of(model, exact_gelu=True)
    with torch.no_grad():
        for sample in one_by_one(samples):
            Watched(graph).run(*(torch.from_numpy(sample[t.name].astype(t.dtype)) for t in model.signature.inputs))
    return found
