"""MobileNetV3 in PyTorch, with the padding of the TensorFlow original."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.blocks import InvertedResidual as Block
from edgekit.zoo.blocks import check_even
from edgekit.zoo.blocks.pytorch import ConvNorm, InvertedResidual
from edgekit.zoo.mobilenet_v3.spec import Row, plan

EPSILON = 1e-3


class MobileNetV3(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(self, stem: int, blocks: Sequence[Block], last: int, point: int, classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, 3, 2, padding="same", epsilon=EPSILON, activation="hard_swish")
        self.blocks = nn.ModuleList(InvertedResidual(block, epsilon=EPSILON) for block in blocks)
        self.last = ConvNorm(blocks[-1].outputs, last, 1, epsilon=EPSILON, activation="hard_swish")
        self.point = nn.Linear(last, point)
        self.logits = nn.Linear(point, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        x = functional.adaptive_avg_pool2d(self.last(x), 1).flatten(1)
        out: torch.Tensor = self.logits(functional.hardswish(self.point(x)))
        return out


def build(*, image_size: int, classes: int, stem: int, rows: Sequence[Row], last: int, point: int) -> nn.Module:
    """Build the model; ``rows`` is a table like ``spec.SMALL``.

    Raises:
        UsageError: the image is not even before each stride of 2, where the padding would be another.
    """
    blocks = plan(stem, rows)
    check_even(image_size, blocks)
    return MobileNetV3(stem, blocks, last, point, classes)
