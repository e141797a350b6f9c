"""AlexNet in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import flat, he_normal


class AlexNet(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(
        self, size: int, stem: tuple[int, int, int], widths: Sequence[int], hidden: int, classes: int, dropout: float
    ) -> None:
        super().__init__()
        kernel, stride, padding = stem
        self.conv1 = nn.Conv2d(3, widths[0], kernel, stride, padding)
        self.conv2 = nn.Conv2d(widths[0], widths[1], 5, padding=2)
        self.conv3 = nn.Conv2d(widths[1], widths[2], 3, padding=1)
        self.conv4 = nn.Conv2d(widths[2], widths[3], 3, padding=1)
        self.conv5 = nn.Conv2d(widths[3], widths[4], 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.hidden1 = nn.Linear(size * size * widths[4], hidden)
        self.hidden2 = nn.Linear(hidden, hidden)
        self.logits = nn.Linear(hidden, classes)
        he_normal(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = functional.max_pool2d(functional.relu(self.conv1(image)), 3, 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 3, 2)
        x = functional.relu(self.conv3(x))
        x = functional.relu(self.conv4(x))
        x = functional.max_pool2d(functional.relu(self.conv5(x)), 3, 2)
        x = functional.relu(self.hidden1(self.dropout(flat(x))))
        x = functional.relu(self.hidden2(self.dropout(x)))
        out: torch.Tensor = self.logits(x)
        return out


def build(
    *, image_size: int, classes: int, stem: tuple[int, int, int], widths: Sequence[int], hidden: int, dropout: float
) -> nn.Module:
    """Build the model; ``stem`` is kernel, stride and padding of the first convolution."""
    kernel, stride, padding = stem
    size = (image_size + 2 * padding - kernel) // stride + 1
    for _ in range(3):
        size = (size - 3) // 2 + 1
    return AlexNet(size, stem, widths, hidden, classes, dropout)
