"""A source with the weights of a recipe, written as its framework loads it without edgekit."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.frameworks.once import forget, load
from edgekit.sources.source import Source

if TYPE_CHECKING:
    import torch

    from edgekit.frameworks import LoadedModel

#: Distributions whose versions change what is done here.
PACKAGES = ("safetensors", "torch")

#: Samples that a model is exported with for any number of them: neither 0 nor 1, which PyTorch takes for special.
_SEVERAL = 3


@dataclass(frozen=True)
class SaveRequest:
    """A source with the weights that it is to be saved with, as its framework loads it."""

    source: Source
    environment: str


@dataclass(frozen=True)
class SaveAnswer:
    """What was saved.

    Attributes:
        files: their names, in the step's folder.
        batch: how many samples the model takes at a time, where it is one number; None for any.
    """

    files: tuple[str, ...]
    batch: int | None


def save(folder: Path, request: SaveRequest) -> SaveAnswer:
    """Write a model so that its framework loads it without edgekit.

    Keras: ``model.keras``. PyTorch: ``model.pt2``, and ``model.safetensors`` with the state of the module.
    """
    model = load(request.source, request.environment)
    try:
        if model.framework == "keras":
            model.native.save(folder / "model.keras")
            sizes = {next(iter(tensor.shape), None) for tensor in model.native.inputs}
            return SaveAnswer(("model.keras",), None if None in sizes else sizes.pop())
        import torch
        from safetensors.torch import save_file

        from edgekit.frameworks.torch import torch_export

        made, program = io.BytesIO(), _of_any_batch(model)
        torch.export.save(program or torch_export(model), made)
        (folder / "model.pt2").write_bytes(made.getvalue())  # of a full disk Python says so, and PyTorch does not
        state = {name: t.detach().clone().contiguous() for name, t in model.native.state_dict().items()}
        save_file(state, folder / "model.safetensors")
        return SaveAnswer(("model.pt2", "model.safetensors"), None if program else 1)
    finally:
        forget()


def _of_any_batch(model: LoadedModel) -> torch.export.ExportedProgram | None:
    """A PyTorch model, exported for any number of samples; None where it takes one number alone."""
    import torch

    from edgekit.frameworks.loaded import example, named

    if getattr(model, "batch", 1) == 1:
        return None
    several = [torch.from_numpy(a).repeat_interleave(_SEVERAL, 0) for a in example(model)]
    axes = [{0: torch.export.Dim("batch")}] * len(several)
    try:
        with torch.no_grad():
            program = torch.export.export(model.native, tuple(several), dynamic_shapes=axes, strict=False)
            module = program.module()
            for count in (1, _SEVERAL - 1):
                given = [t[:count] for t in several]
                made, wanted = (named(f(*given), torch.is_tensor) for f in (module, model.native))
                for (_, one), (_, other) in zip(made, wanted, strict=True):
                    torch.testing.assert_close(one, other, equal_nan=True)
    except Exception:  # a length of the model's own code, or an operator that PyTorch cannot export for any number
        return None
    return program
