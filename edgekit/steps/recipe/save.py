"""A source with the weights of a recipe, written as its framework loads it without edgekit."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from edgekit.frameworks.once import forget, load
from edgekit.sources.source import Source

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")


@dataclass(frozen=True)
class SaveRequest:
    """A source with the weights that it is to be saved with, as its framework loads it."""

    source: Source
    environment: str


def save(folder: Path, request: SaveRequest) -> tuple[str, ...]:
    """Write a model so that its framework loads it without edgekit; returns the names of the files.

    Keras: ``model.keras``. PyTorch: ``model.pt2``, and ``model.safetensors`` with the state of the module.
    """
    model = load(request.source, request.environment)
    try:
        if model.framework == "keras":
            model.native.save(folder / "model.keras")
            return ("model.keras",)
        import torch
        from safetensors.torch import save_file

        from edgekit.frameworks.torch import torch_export

        made = io.BytesIO()
        torch.export.save(torch_export(model), made)
        (folder / "model.pt2").write_bytes(made.getvalue())  # of a full disk Python says so, and PyTorch does not
        state = {name: t.detach().clone().contiguous() for name, t in model.native.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        return ("model.pt2", "model.safetensors")
    finally:
        forget()
