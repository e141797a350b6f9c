"""MobileNetV2 in PyTorch, with the padding of the TensorFlow original."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.blocks import check_even
from edgekit.zoo.blocks.pytorch import ConvNorm, InvertedResidual
from edgekit.zoo.mobilenet_v2.spec import Plan, Stage, plan

EPSILON = 1e-3


class MobileNetV2(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(self, plan: Plan, classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, plan.stem, 3, 2, padding="same", epsilon=EPSILON, activation="relu6")
        self.blocks = nn.ModuleList(InvertedResidual(block, epsilon=EPSILON) for block in plan.blocks)
        self.head = ConvNorm(plan.blocks[-1].outputs, plan.head, 1, epsilon=EPSILON, activation="relu6")
        self.logits = nn.Linear(plan.head, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        x = functional.adaptive_avg_pool2d(self.head(x), 1).flatten(1)
        out: torch.Tensor = self.logits(x)
        return out


def build(*, image_size: int, classes: int, alpha: float, stages: Sequence[Stage], head: int) -> nn.Module:
    """Build the model; ``stages`` is a table like ``spec.STAGES``.

    Raises:
        UsageError: the image is not even before each stride of 2, where the padding would be another.
    """
    made = plan(alpha, stages, head)
    check_even(image_size, made.blocks)
    return MobileNetV2(made, classes)
