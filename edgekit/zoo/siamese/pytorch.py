"""The siamese network in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import flat


class Siamese(nn.Module):
    """Takes two images ``(n, 1, size, size)``, gives ``(n, 1)`` log-odds that they show the same."""

    def __init__(self, image_size: int, convs: Sequence[tuple[int, int]], code: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        inputs, size = 1, image_size
        for i, (outputs, kernel) in enumerate(convs):
            self.convs.append(nn.Conv2d(inputs, outputs, kernel))
            inputs, size = outputs, size - kernel + 1
            size = size // 2 if i < len(convs) - 1 else size
        self.embed = nn.Linear(size * size * inputs, code)
        self.logit = nn.Linear(code, 1)

    def tower(self, x: Tensor) -> Tensor:
        """The code of an image."""
        for i, conv in enumerate(self.convs):
            x = functional.relu(conv(x))
            if i < len(self.convs) - 1:
                x = functional.max_pool2d(x, 2, 2)
        return torch.sigmoid(self.embed(flat(x)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute the log-odds."""
        out: Tensor = self.logit(torch.abs(self.tower(first) - self.tower(second)))
        return out


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of two classes in nats."""
    return functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())


def build(*, image_size: int, convs: Sequence[tuple[int, int]], code: int) -> nn.Module:
    """Build the model; ``convs`` has outputs and kernel of each convolution."""
    return Siamese(image_size, convs, code)
