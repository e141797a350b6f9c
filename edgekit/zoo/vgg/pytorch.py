"""VGG in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import flat, he_normal


class VGG(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(
        self, image_size: int, stages: Sequence[Sequence[int]], hidden: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        inputs = 3
        for widths in stages:
            before = (inputs, *widths)
            self.stages.append(
                nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(before, widths, strict=False))
            )
            inputs = widths[-1]
        size = image_size // 2 ** len(stages)
        self.hidden1 = nn.Linear(size * size * inputs, hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden, classes)
        he_normal(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = image
        for stage in self.stages:
            for conv in stage:  # type: ignore[attr-defined]  # a ModuleList
                x = functional.relu(conv(x))
            x = functional.max_pool2d(x, 2, 2)
        x = self.dropout(functional.relu(self.hidden1(flat(x))))
        x = self.dropout(functional.relu(self.hidden2(x)))
        out: torch.Tensor = self.logits(x)
        return out


def build(*, image_size: int, classes: int, stages: Sequence[Sequence[int]], hidden: int, dropout: float) -> nn.Module:
    """Build the model; ``stages`` is a table like ``spec.VGG16``."""
    return VGG(image_size, stages, hidden, classes, dropout)
