"""ResNet v1.5 in PyTorch; inside a block, modules are named as in torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.resnet.spec import Block, Kind, plan


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, bias=False)


def _shortcut(block: Block) -> nn.Sequential | None:
    if not block.projects:
        return None
    return nn.Sequential(_conv(block.inputs, block.outputs, 1, block.stride), nn.BatchNorm2d(block.outputs))


class Basic(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.conv1 = _conv(block.inputs, block.inner, 3, block.stride, block.dilation)
        self.bn1 = nn.BatchNorm2d(block.inner)
        self.conv2 = _conv(block.inner, block.outputs, 3, 1, block.dilation)
        self.bn2 = nn.BatchNorm2d(block.outputs)
        self.downsample = _shortcut(block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolution."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.conv1 = _conv(block.inputs, block.inner, 1)
        self.bn1 = nn.BatchNorm2d(block.inner)
        self.conv2 = _conv(block.inner, block.inner, 3, block.stride, block.dilation)
        self.bn2 = nn.BatchNorm2d(block.inner)
        self.conv3 = _conv(block.inner, block.outputs, 1)
        self.bn3 = nn.BatchNorm2d(block.outputs)
        self.downsample = _shortcut(block)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    """Takes ``(n, 3, size, size)``, gives the last stage's map."""

    def __init__(self, kind: Kind, blocks: Sequence[Block], stem: int, stem_kernel: int, stem_stride: int) -> None:
        super().__init__()
        make = Bottleneck if kind == "bottleneck" else Basic
        self.conv1 = _conv(3, stem, stem_kernel, stem_stride)
        self.bn1 = nn.BatchNorm2d(stem)
        stages = groupby(blocks, key=lambda block: block.stage)
        self.stages = nn.ModuleList(nn.Sequential(*(make(block) for block in members)) for _, members in stages)

    def maps(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Compute the map behind each stage."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the last map."""
        return self.maps(image)[-1]


class ResNet(Trunk):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(
        self, kind: Kind, blocks: Sequence[Block], stem: int, stem_kernel: int, stem_stride: int, classes: int
    ) -> None:
        super().__init__(kind, blocks, stem, stem_kernel, stem_stride)
        self.logits = nn.Linear(blocks[-1].outputs, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        out: torch.Tensor = self.logits(functional.adaptive_avg_pool2d(self.features(image), 1).flatten(1))
        return out


def build(
    *,
    image_size: int,
    classes: int,
    kind: Kind,
    depths: Sequence[int],
    widths: Sequence[int],
    stem: int,
    stem_kernel: int,
    stem_stride: int,
) -> nn.Module:
    """Build the model; ``depths`` and ``widths`` (output channels) have one number per stage."""
    del image_size  # a convolutional network with a global average takes any
    return ResNet(kind, plan(kind, depths, widths, stem), stem, stem_kernel, stem_stride, classes)
