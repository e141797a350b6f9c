"""A classifier with class activation maps in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import ConvNorm


class MedicalCNN(nn.Module):
    """Takes ``(n, channels, size, size)``, gives logits ``(n, classes)`` and maps ``(n, classes, height, width)``."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for inputs, outputs in zip((channels, *widths[:-1]), widths, strict=True):
            first = ConvNorm(inputs, outputs, 3, activation="relu")
            self.stages.append(nn.ModuleList((first, ConvNorm(outputs, outputs, 3, activation="relu"))))
        self.map = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the logits, and the map that each is the mean of."""
        x = image
        for i, stage in enumerate(self.stages):
            if i:
                x = functional.max_pool2d(x, 2, 2)
            for conv in stage:  # type: ignore[attr-defined]  # a ModuleList
                x = conv(x)
        found = self.map(x)
        return functional.adaptive_avg_pool2d(found, 1).flatten(1), found


def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Mean cross-entropy of the logits in nats; nothing is known about the maps."""
    return torch.nn.functional.cross_entropy(outputs[0], labels)


def build(*, image_size: int, channels: int, classes: int, widths: Sequence[int]) -> nn.Module:
    """Build the model; ``widths`` has the channels of each stage."""
    del image_size  # a convolutional network with a global average takes any
    return MedicalCNN(channels, classes, widths)
