"""DenseNet in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class NormConv(nn.Module):
    """BatchNorm, ReLU, convolution without bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize, activate, convolve."""
        out: torch.Tensor = self.conv(functional.relu(self.norm(x)))
        return out


class Dense(nn.Module):
    """A bottleneck and a 3x3 convolution, whose outputs are put behind the inputs."""

    def __init__(self, inputs: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        self.narrow = NormConv(inputs, bottleneck, 1)
        self.grow = NormConv(bottleneck, growth, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        return torch.cat((x, self.grow(self.narrow(x))), 1)


class DenseNet(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(
        self,
        stem: tuple[int, int, int],
        stem_pool: bool,
        growth: int,
        bottleneck: int,
        depths: Sequence[int],
        classes: int,
    ) -> None:
        super().__init__()
        width, kernel, stride = stem
        self.stem = nn.Conv2d(3, width, kernel, stride, kernel // 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(width) if stem_pool else None
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for depth in depths:
            self.blocks.append(nn.ModuleList(Dense(width + i * growth, growth, bottleneck) for i in range(depth)))
            width += depth * growth
            if len(self.blocks) < len(depths):
                self.transitions.append(NormConv(width, width // 2, 1))
                width //= 2
        self.norm = nn.BatchNorm2d(width)
        self.logits = nn.Linear(width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = self.stem(image)
        if self.stem_norm is not None:
            x = functional.max_pool2d(functional.relu(self.stem_norm(x)), 3, 2, 1)
        for i, block in enumerate(self.blocks):
            for layer in block:  # type: ignore[attr-defined]  # a ModuleList
                x = layer(x)
            if i < len(self.transitions):
                x = functional.avg_pool2d(self.transitions[i](x), 2, 2)
        x = functional.adaptive_avg_pool2d(functional.relu(self.norm(x)), 1).flatten(1)
        out: torch.Tensor = self.logits(x)
        return out


def build(
    *,
    image_size: int,
    classes: int,
    stem: tuple[int, int, int],
    stem_pool: bool,
    growth: int,
    bottleneck: int,
    depths: Sequence[int],
) -> nn.Module:
    """Build the model; ``stem`` is width, kernel and stride of the first convolution."""
    del image_size  # a convolutional network with a global average takes any
    return DenseNet(stem, stem_pool, growth, bottleneck, depths, classes)
