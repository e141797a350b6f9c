"""Equalization: channels scaled so that quantizing costs less, where the graph leaves their scale free (``seams``).

The model computes what it did. Three ways to choose the scales:

- ``cle``: Nagel et al., *Data-Free Quantization through Weight Equalization and Bias Correction*, ICCV 2019, equation
  11: the weights that give a channel and those that read it get the same range.
- ``smoothquant``: Xiao et al., *SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language
  Models*, ICML 2023, equation 4: outliers of activations move into the weights, which have a scale per row.
- ``awq``: Lin et al., *AWQ: Activation-aware Weight Quantization for On-Device LLM Compression and Acceleration*, MLSys
  2024, equation 4: weights whose inputs are large get finer steps.

The papers' exponent is searched for each seam, by an error that is estimated from the layers' own inputs; a seam at
which no exponent promises less error than none stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgekit.compress.fakequant import Grid, nearest
from edgekit.compress.graph import Graph
from edgekit.compress.seams import Seam, find_seams
from edgekit.frameworks import LoadedModel
from edgekit.scheme import Equalization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.compress.graph import Floats
    from edgekit.compress.products import Product

    _Quantized = Sequence[tuple[Product, Grid]]

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)

#: Exponents that are tried.
_EXPONENTS = tuple(i / 10 for i in range(1, 11))
#: A channel's scale is at most so many times the geometric mean, and at least that part of it.
_FARTHEST = 64.0
#: Scales of norms above it are folded: what is added to the norm is divided by them, in float32.
_SMALLEST = 1e-30
#: Rounds of ``cle``, in which a channel's scale reaches those of its neighbours.
_ROUNDS = 4


def equalize(
    model: LoadedModel,
    samples: Sequence[Sequence[NDArray[Any]]],
    method: Equalization,
    grid: Callable[[Product], Grid | None],
    *,
    activation_bits: int | None = None,
) -> int:
    """Scale a model's channels, in place.

    Args:
        model: of PyTorch, or of Keras on the torch backend.
        samples: each the arrays of one call, in the signature's order; ``cle`` needs none.
        method: how scales are chosen.
        grid: what a product's weights become; None where they stay as they are.
        activation_bits: of integers with one scale for all channels of a value, taken from samples; None where
            activations stay in float, or are scaled at run time.

    Returns:
        How many seams were scaled.
    """
    graph = Graph(model)
    with torch.no_grad():
        states = graph.started(samples)
        seams = find_seams(graph, states)
        if method == "cle":
            scaled = set()
            for _ in range(_ROUNDS):
                scaled |= {i for i, seam in enumerate(seams) if _apply(seam, _ranges_met(seam))}
            return len(scaled)
        products = {found.node: found.product for seam in seams for found in seam.products}
        for node in graph.nodes:
            if node in products:
                products[node].moments()  # while its inputs are there
            for state in states:
                state.run(node)
        chosen = []
        for seam in seams:
            read = [(f.product, on) for f in seam.products if (on := grid(f.product)) is not None]
            chosen.append(_SEARCHED[method](read, activation_bits) if read else None)
        return sum(_apply(seam, scales) for seam, scales in zip(seams, chosen, strict=True))


def fold_norms(model: LoadedModel) -> list[torch.Tensor]:
    """Multiply the scales of norms into the weights behind them, in place; the model computes what it did.

    Returns:
        The scales that were folded, the model's own tensors: 1 or -1 each from now on. One that is zero, or close to
        it, is left as it is.
    """
    with torch.no_grad():
        norms = [s for s in find_seams(Graph(model)) if all(f.places.shape[1] == 1 for f in s.giving)]
        # Signs stay where they are: what is between may keep factors above 0 alone.
        sizes = [np.abs(s.giving[0].stored.values(s.giving[0].places)[:, 0]) for s in norms]
        folded = [(seam, size) for seam, size in zip(norms, sizes, strict=True) if size.min() > _SMALLEST]
        for seam, size in folded:
            seam.apply(size)
    return [seam.giving[0].stored.own for seam, _ in folded]


def _apply(seam: Seam, scales: Floats | None) -> bool:
    if scales is None:
        return False
    scales = scales / np.exp(np.log(scales).mean())
    seam.apply(np.clip(scales, 1 / _FARTHEST, _FARTHEST))
    return True


def _ranges_met(seam: Seam) -> Floats | None:
    """Scales at which the weights before and behind have the same range; a norm's channel scales are no matrix."""
    before = [np.abs(f.stored.values(f.places)).max(axis=1) for f in seam.giving if f.places.shape[1] > 1]
    if not before:
        return None
    behind = np.max([np.abs(f.stored.values(f.places)).max(axis=1) for _, f in seam.reading], axis=0)
    both = (np.max(before, axis=0) > 0) & (behind > 0)
    return np.where(both, np.sqrt(np.max(before, axis=0) / np.where(both, behind, 1)), 1.0)


def _smoothquant(products: _Quantized, activation_bits: int | None) -> Floats | None:
    """Scales of the largest activation and the largest weight of each channel, to the power that promises least."""
    if activation_bits is None:
        return None
    most = np.max(
        [_per_channel(p, np.maximum(np.abs(p.moments().least), np.abs(p.moments().most))) for p, _ in products], 0
    )
    weights = np.max([_per_channel(p, np.abs(p.weights).max(axis=0)) for p, _ in products], axis=0)
    if not (most.min() > 0 and weights.min() > 0):
        return None
    steps = 2**activation_bits - 1
    return _best(
        [most**power / weights ** (1 - power) for power in _EXPONENTS],
        lambda scales: sum(_of_integers(p, scales, grid, steps) for p, grid in products),
        len(most),
    )


def _of_integers(product: Product, scales: Floats, grid: Grid, steps: int) -> float:
    """Expected error, relative to the outputs, of integers for the inputs, with one scale, and for the weights.

    Rounding to steps of ``d`` has a variance of ``d^2 / 12``.
    """
    seen, scale = product.moments(), np.repeat(scales, product.weights.shape[1] // product.channels)
    weights = product.weights * scale
    span = (np.maximum(seen.most, 0) / scale).max() - (np.minimum(seen.least, 0) / scale).min()
    of_inputs = seen.count * (span / steps) ** 2 / 12 * (weights**2).sum()
    of_weights = (grid.scales(weights) ** 2 / 12 * (np.diag(seen.second) / scale**2)).sum()
    return float((of_inputs + of_weights) / _energy(product))


def _awq(products: _Quantized, activation_bits: int | None) -> Floats | None:
    """Scales of the mean size of each channel's inputs, to the power at which rounding costs least."""
    sizes = [_per_channel(p, np.sqrt(np.diag(p.moments().second) / p.moments().count), np.mean) for p, _ in products]
    size = np.mean(sizes, axis=0)
    if not size.min() > 0:
        return None
    return _best(
        [size**power for power in _EXPONENTS],
        lambda scales: sum(_of_rounding(p, scales, grid) for p, grid in products),
        len(size),
    )


def _of_rounding(product: Product, scales: Floats, grid: Grid) -> float:
    """Error of rounding the scaled weights to the nearest, relative to the outputs."""
    scale = np.repeat(scales, product.weights.shape[1] // product.channels)
    difference = nearest(product.weights * scale, grid) / scale - product.weights
    return float(((difference @ product.moments().second) * difference).sum() / _energy(product))


def _energy(product: Product) -> float:
    """Of the outputs, without what is added to them."""
    return float(((product.weights @ product.moments().second) * product.weights).sum()) or 1.0


def _per_channel(product: Product, values: Floats, of: Callable[..., Floats] = np.max) -> Floats:
    """One number for each channel, of those of a kernel's positions."""
    return np.asarray(of(values.reshape(product.channels, -1), axis=1))


def _best(candidates: Sequence[Floats], error: Callable[[Floats], float], channels: int) -> Floats | None:
    """The candidate of the least error; None where leaving all as it is has no more."""
    errors = [error(scales) for scales in candidates]
    best = int(np.argmin(errors))
    return candidates[best] if errors[best] < error(np.ones(channels)) else None


_SEARCHED: dict[Equalization, Callable[[_Quantized, int | None], Floats | None]] = {
    "smoothquant": _smoothquant,
    "awq": _awq,
}
