"""Rounding a checkpoint's weights to a scheme's grid by what they do to calibration samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.compress import gptq
from edgekit.data import plan as planning
from edgekit.frameworks.once import forget, framework, load
from edgekit.scheme import Kind, Scheme
from edgekit.sources.source import Source
from edgekit.steps import File

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.compress.products import Product


@dataclass(frozen=True)
class Request:
    """Which model, in which kind of child; what its weights become; by which samples.

    Attributes:
        kinds: of the layers that the target puts into few bits.
        samples: file of calibration samples.
    """

    source: Source
    environment: str
    scheme: Scheme
    kinds: tuple[Kind, ...]
    samples: File


@dataclass(frozen=True)
class Answer:
    """The file of all weights in the step's folder, and the names of the tensors that were rounded."""

    file: str
    rounded: tuple[str, ...]


def run(folder: Path, request: Request) -> Answer:
    """Round the weights of every layer of these kinds by GPTQ, each with the inputs that those before it leave it."""
    from edgekit.compress import products

    model = load(request.source, request.environment)
    rows = planning.load(Path(request.samples)).inputs
    inputs = [rows[t.name].reshape(-1, *t.shape).astype(t.dtype) for t in model.signature.inputs]
    samples = list(zip(*inputs, strict=True))
    group = request.scheme.group

    def change(product: Product) -> NDArray[np.float64] | None:
        if product.kind not in request.kinds or request.scheme.too_large_for((1, product.channels)):
            return None
        positions = product.weights.shape[1] // product.channels  # of a kernel, which share a block
        return gptq.rounded(product.weights, product.hessian(), gptq.Grid(group=group and group * positions))

    try:
        changed = products.replace_weights(model, samples, change)
        file = framework(request.environment).save_weights(model, folder)
    finally:
        forget()
    return Answer(file.name, tuple(changed))
