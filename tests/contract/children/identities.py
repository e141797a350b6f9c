"""Models with one operator each that hands its input on unchanged, and the graphs that PT2E gets of them."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgekit.schemes import SCHEMES
from edgekit.signature import Signature, TensorSpec
from edgekit.toolchains import Request

#: Where each toolchain gives a graph to its observers.
ROUTES = {
    "litert": ("export_torch", "convert_pt2e_int8"),
    "coreml": ("quantize", "pt2e"),
    "executorch": ("quantize", "static"),
}
SHAPE = (1, 6, 8)


class SeenError(Exception):
    """The graph is known: nothing more is to be done."""


def calls() -> dict[str, Any]:
    """One call for each operator, as a model may have it."""
    import torch

    aten = torch.ops.aten
    return {
        "dropout": lambda x: aten.dropout.default(x, 0.5, False),
        "feature_dropout": lambda x: aten.feature_dropout.default(x, 0.5, False),
        "to": lambda x: aten.to.dtype(x, torch.float32),
        "_to_copy": lambda x: aten._to_copy.default(x, dtype=torch.float32),
        "squeeze": lambda x: aten.squeeze.dim(aten.unsqueeze.default(x, -1), 3),
    } | {
        name: getattr(aten, name).default
        for name in ("clone", "contiguous", "detach", "alias", "alias_copy", "lift_fresh", "lift_fresh_copy")
    }


def left(folder: str, which: str) -> dict[str, list[list[str]]]:
    """Operators of every such model: as it was exported, and as the toolchain's observers get it."""
    import torch
    from torchao.quantization.pt2e import quantize_pt2e

    from edgekit.frameworks.torch import torch_export

    def seen(graph: Any, quantizer: Any) -> Any:
        raise SeenError(graph)

    class Model(torch.nn.Module):
        def __init__(self, call: Any) -> None:
            super().__init__()
            self.before, self.call, self.after = torch.nn.Linear(8, 8), call, torch.nn.Linear(8, 8)

        def forward(self, x: Any) -> Any:
            return self.after(self.call(torch.relu(self.before(x))))

    prepare, quantize_pt2e.prepare_pt2e = quantize_pt2e.prepare_pt2e, seen
    module, function = ROUTES[which]
    convert = getattr(importlib.import_module(f"edgekit.toolchains.{which}.{module}"), function)
    specs = (TensorSpec("x", SHAPE),)
    request = Request(Path(folder), SCHEMES["int8"], True, {"x": np.ones(SHAPE, np.float32)}, None, ("x",), ("y",))
    found = {}
    for name, call in calls().items():
        model: Any = SimpleNamespace(
            native=Model(call).eval(), framework="torch", kind="python", signature=Signature(specs, specs)
        )
        try:
            convert(model, request)
        except SeenError as error:
            found[name] = [_operators(torch_export(model).graph), _operators(error.args[0].graph)]
    quantize_pt2e.prepare_pt2e = prepare
    return found


def _operators(graph: Any) -> list[str]:
    return [str(node.target).split(".")[1] for node in graph.nodes if str(node.target).startswith("aten.")]
