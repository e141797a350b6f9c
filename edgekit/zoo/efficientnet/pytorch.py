"""EfficientNet in PyTorch, with the padding of the TensorFlow original."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.blocks import check_even
from edgekit.zoo.blocks.pytorch import ConvNorm, InvertedResidual
from edgekit.zoo.efficientnet.spec import Stage, plan

EPSILON = 1e-3


class EfficientNet(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(self, stem: int, stages: Sequence[Stage], head: int, classes: int, dropout: float) -> None:
        super().__init__()
        blocks = plan(stem, stages)
        self.stem = ConvNorm(3, stem, 3, 2, padding="same", epsilon=EPSILON, activation="silu")
        self.blocks = nn.ModuleList(InvertedResidual(block, epsilon=EPSILON) for block in blocks)
        self.head = ConvNorm(blocks[-1].outputs, head, 1, epsilon=EPSILON, activation="silu")
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(head, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        x = functional.adaptive_avg_pool2d(self.head(x), 1).flatten(1)
        out: torch.Tensor = self.logits(self.dropout(x))
        return out


def build(*, image_size: int, classes: int, stem: int, stages: Sequence[Stage], head: int, dropout: float) -> nn.Module:
    """Build the model; ``stages`` is a table like ``spec.B0``.

    Raises:
        UsageError: the image is not even before each stride of 2, where the padding would be another.
    """
    check_even(image_size, plan(stem, stages))
    return EfficientNet(stem, stages, head, classes, dropout)
