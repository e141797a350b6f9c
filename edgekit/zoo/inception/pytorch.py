"""The Inception networks in PyTorch, from their tables."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import ConvNorm
from edgekit.zoo.inception.spec import Conv, Layer, Mixed, Pool

EPSILON = 1e-3


class Branches(nn.Module):
    """Branches that read the same map; their outputs are put behind each other."""

    def __init__(self, inputs: int, mixed: Mixed) -> None:
        super().__init__()
        made = [chain(inputs, branch) for branch in mixed.branches]
        self.branches = nn.ModuleList(module for module, _ in made)
        self.outputs = sum(outputs for _, outputs in made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run all branches."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def pool(facts: Pool) -> nn.Module:
    """3x3 pooling; an average counts no zeros."""
    around = 1 if facts.stride == 1 else 0
    if facts.kind == "average":
        return nn.AvgPool2d(3, facts.stride, around, count_include_pad=False)
    return nn.MaxPool2d(3, facts.stride, around, ceil_mode=facts.stride == 2 and facts.padding == "same")


def chain(inputs: int, table: Sequence[Layer]) -> tuple[nn.Sequential, int]:
    """Layers one behind the other, and the channels that come out."""
    made: list[nn.Module] = []
    for facts in table:
        if isinstance(facts, Conv):
            made.append(
                ConvNorm(
                    inputs, facts.outputs, facts.kernel, facts.stride,
                    padding=facts.padding, epsilon=EPSILON, activation="relu",
                )
            )  # fmt: skip
            inputs = facts.outputs
        elif isinstance(facts, Mixed):
            made.append(branches := Branches(inputs, facts))
            inputs = branches.outputs
        else:
            made.append(pool(facts))
    return nn.Sequential(*made), inputs


class Inception(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(self, table: Sequence[Layer], classes: int, dropout: float) -> None:
        super().__init__()
        self.layers, outputs = chain(3, table)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(outputs, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = functional.adaptive_avg_pool2d(self.layers(image), 1).flatten(1)
        out: torch.Tensor = self.logits(self.dropout(x))
        return out


def build(*, image_size: int, classes: int, table: Sequence[Layer], dropout: float) -> nn.Module:
    """Build the model of a table like ``spec.GOOGLENET``."""
    del image_size  # a convolutional network with a global average takes any
    return Inception(table, classes, dropout)
