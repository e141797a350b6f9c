"""U-Net in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with BatchNorm and ReLU; the image keeps its size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply both."""
        x = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    """Takes ``(n, channels, size, size)``, gives ``(n, classes, size, size)`` logits."""

    def __init__(self, channels: int, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        levels = len(widths) - 1
        self.down = nn.ModuleList(DoubleConv(i, o) for i, o in zip((channels, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(widths[i + 1], widths[i], 2, 2) for i in range(levels))
        self.merge = nn.ModuleList(DoubleConv(2 * widths[i], widths[i]) for i in range(levels))
        self.logits = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits of every pixel."""
        skips = [self.down[0](image)]
        for level in self.down[1:]:
            # The stride is written out: two exporters fail on the implicit one.
            skips.append(level(functional.max_pool2d(skips[-1], 2, 2)))
        x = skips.pop()
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat((skips.pop(), up(x)), 1))
        out: torch.Tensor = self.logits(x)
        return out


def build(*, image_size: int, channels: int, classes: int, widths: Sequence[int]) -> nn.Module:
    """Build the model; ``widths`` are the channels of the levels, from full size to the bottom."""
    del image_size  # a convolutional network takes any multiple of 2 ** (levels - 1)
    return UNet(channels, classes, widths)
