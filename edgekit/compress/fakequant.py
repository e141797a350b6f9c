"""Fake quantization: what weights and activations become, in float, said once for all that rounds or trains them.

GPTQ, equalization and training, of PyTorch models and of Keras models, read this one definition, so that they mean the
same grid; ``edgekit.reference.quantize`` is the oracle that it is tested against.

Activations have one scale per tensor and a zero point: ``steps_of`` says what a range means, to NumPy and to PyTorch's
own operator alike.

The grid is symmetric, of ``-7..7`` or ``-127..127``, with a scale per output channel, or per block of a channel. Scales
of channels are what makes a BatchNorm behind a layer need no folding first: folding multiplies a whole output channel
by one number, and its scale with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.scheme import Kind, Range, Rule, Scheme

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Symmetric integers from ``-largest`` to ``largest``, with one scale per row, or per block of a row.

    Attributes:
        largest: 7 for 4 bits: -8 is not used, so that a weight and its opposite cost the same.
        group: inputs that share a scale; the last ones of a row may be fewer; None for all.
    """

    largest: int = 7
    group: int | None = None

    def scales(self, weights: Floats) -> Floats:
        """Of ``(rows, inputs)`` weights the scale of each weight: the largest magnitude is the largest integer."""
        inputs = weights.shape[1]
        blocks = self.blocks(np.abs(weights)).max(axis=2)
        # In float32, as runtimes have it: else what lies on this grid is beside theirs.
        scales = np.maximum(blocks.astype(np.float32), np.finfo(np.float32).tiny) / np.float32(self.largest)
        return np.repeat(scales.astype(np.float64), self.group or inputs, axis=1)[:, :inputs]

    def blocks(self, weights: Floats) -> Floats:
        """``(rows, inputs)`` weights as ``(rows, blocks, group)``; zeros fill up the last block."""
        rows, inputs = weights.shape
        group = self.group or inputs
        return np.pad(weights, ((0, 0), (0, -inputs % group))).reshape(rows, -1, group)


def nearest(weights: Floats, grid: Grid) -> Floats:
    """Weights rounded to the nearest point of the grid."""
    scales = grid.scales(weights)
    return np.asarray(np.clip(np.rint(weights / scales), -grid.largest, grid.largest) * scales)


def grid_of(
    scheme: Scheme, kinds: Sequence[Kind], kind: Kind, inputs: int, channels: int, *, partial: bool = False
) -> Grid | None:
    """What a layer's weights become in a file; None where they do not become integers of this scheme.

    Args:
        scheme: the target's.
        kinds: of the layers that the target quantizes; empty for all.
        kind: of this one.
        inputs: weights of one output channel: input channels times positions of the kernel.
        channels: input channels, which blocks divide; the positions of a kernel share a block.
        partial: whether the last block may hold fewer channels than the others.
    """
    if (kinds and kind not in kinds) or (scheme.too_large_for((1, channels)) and not (partial and scheme.group)):
        return None
    positions = inputs // channels
    return Grid(7 if scheme.below_8_bits else 127, scheme.group and scheme.group * positions)


def chooser(
    scheme: Scheme | None, kinds: Sequence[Kind], rules: Sequence[Rule]
) -> Callable[[tuple[str, ...], Kind, int, int], Grid | None]:
    """``grid_of`` of layers that no rule takes, by their names; none of any layer without a scheme."""

    def chosen(names: tuple[str, ...], kind: Kind, inputs: int, channels: int) -> Grid | None:
        if scheme is None or any(rule.takes(names, kind) for rule in rules):
            return None
        return grid_of(scheme, kinds, kind, inputs, channels)

    return chosen


def steps_of(one: Range) -> tuple[float, int, int, int]:
    """Scale, zero point, smallest and largest integer of a range, as ``torch.fake_quantize_per_tensor_affine`` asks."""
    half = 2 ** (one.bits - 1)
    return float(np.float32(one.scale)), one.zero_point, -half, half - 1


def on_steps(values: Floats, one: Range) -> Floats:
    """Activations rounded to the nearest step of a range; those beyond its ends become its ends."""
    scale, zero, least, most = steps_of(one)
    return np.asarray((np.clip(np.rint(values / scale) + zero, least, most) - zero) * scale)
