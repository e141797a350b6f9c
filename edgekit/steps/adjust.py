"""Other weights for a checkpoint: channels equalized, then rounded to the scheme's grid, by calibration samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.compress import fakequant, gptq
from edgekit.data import plan as planning
from edgekit.frameworks.once import forget, framework, load
from edgekit.scheme import Equalization, Kind, Rule, Scheme
from edgekit.sources.source import Source
from edgekit.steps import File

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgekit.compress.products import Product
    from edgekit.frameworks import LoadedModel


@dataclass(frozen=True)
class Request:
    """Which model, in which kind of child; what its weights become; by which samples.

    Attributes:
        kinds: of the layers that the target quantizes; empty for all.
        samples: file of calibration samples; None where nothing looks at them.
        layers: what is said of single ones, which are not rounded then.
        equalize: how channels are scaled first.
        fold_norms: whether scales of norms are multiplied into the weights behind them, as the format's exporter would
            do with weights that lie on a grid.
        round: whether weights are then rounded by GPTQ.
        partial_blocks: whether the target's last block of a row may hold fewer weights than the others.
    """

    source: Source
    environment: str
    scheme: Scheme
    kinds: tuple[Kind, ...]
    samples: File | None
    layers: tuple[Rule, ...]
    equalize: Equalization
    fold_norms: bool
    round: bool
    partial_blocks: bool


@dataclass(frozen=True)
class Answer:
    """The file of all weights in the step's folder; how many values were equalized, and tensors rounded or kept."""

    file: str
    equalized: int
    rounded: int
    kept: int


def run(folder: Path, request: Request) -> Answer:
    """Equalize, and round the weights of every layer, each with the inputs that those before it leave it."""
    from edgekit.compress import equalize, products

    model = load(request.source, request.environment)
    samples = _samples(model, request.samples)
    scheme = request.scheme

    def grid(product: Product) -> fakequant.Grid | None:
        inputs = product.weights.shape[1]
        return fakequant.grid_of(
            scheme, request.kinds, product.kind, inputs, product.channels, partial=request.partial_blocks
        )

    kept: list[str] = []

    def rounded(product: Product) -> NDArray[np.float64] | None:
        becomes = grid(product)
        if becomes is None:
            return None
        if any(rule.takes(product.names, product.kind) for rule in request.layers):
            kept.append(product.name)
            return None
        seen = product.moments()
        return gptq.rounded(product.weights, seen.second, becomes, seen.crossed)

    try:
        bits = int(scheme.activations.removeprefix("int")) if scheme.needs_calibration else None
        seams = 0
        if request.equalize != "none":
            seams = equalize.equalize(model, samples, request.equalize, grid, activation_bits=bits)
        if request.fold_norms:
            equalize.fold_norms(model)
        changed = products.replace_weights(model, samples, rounded) if request.round else []
        file = framework(request.environment).save_weights(model, folder)
    finally:
        forget()
    return Answer(file.name, seams, len(changed), len(kept))


#: Samples that weights are adjusted by: a model is run in step on all of them, whose values lie in memory together.
MOST = 256


def _samples(model: LoadedModel, file: File | None) -> Sequence[Sequence[NDArray[Any]]]:
    """The arrays of each call, in the signature's order: of ``MOST`` samples at equal distances, or of all."""
    if file is None:
        return ()
    found = planning.rows_of(Path(file))
    inputs = [found[t.name].of_shape(t.shape) for t in model.signature.inputs]
    count = len(inputs[0])
    most = min(count, MOST)
    types = [t.dtype for t in model.signature.inputs]
    return [
        [rows[i * count // most].astype(dtype) for rows, dtype in zip(inputs, types, strict=True)] for i in range(most)
    ]
