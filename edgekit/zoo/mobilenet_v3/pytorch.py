"""MobileNetV3 in PyTorch, with the padding of the TensorFlow original."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.errors import UsageError
from edgekit.zoo.mobilenet_v3.spec import Block, Row, plan


class ConvNorm(nn.Module):
    """Convolution and BatchNorm (epsilon 1e-3), padded as TensorFlow's SAME pads an even image."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        after = kernel // 2
        self.padding = (after - 1, after) * 2 if stride == 2 else None
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, 0 if stride == 2 else after, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, convolve, normalize."""
        if self.padding is not None:
            x = functional.pad(x, self.padding)
        out: torch.Tensor = self.norm(self.conv(x))
        return out


class SqueezeExcite(nn.Module):
    """Weigh each channel by what the averages of all say; fc1 and fc2 as torchvision calls them."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh the channels."""
        average = functional.adaptive_avg_pool2d(x, 1)
        return x * functional.hardsigmoid(self.fc2(functional.relu(self.fc1(average))))


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, weigh, project without activation; the input is added where shapes allow."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.residual = block.residual
        self.expand = ConvNorm(block.inputs, block.expanded, 1) if block.expanded != block.inputs else None
        self.depthwise = ConvNorm(block.expanded, block.expanded, block.kernel, block.stride, groups=block.expanded)
        self.squeeze = SqueezeExcite(block.expanded, block.squeezed) if block.squeezed else None
        self.project = ConvNorm(block.expanded, block.outputs, 1)
        self.activation = nn.Hardswish() if block.swish else nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        wide = x if self.expand is None else self.activation(self.expand(x))
        wide = self.activation(self.depthwise(wide))
        out: torch.Tensor = self.project(wide if self.squeeze is None else self.squeeze(wide))
        return x + out if self.residual else out


class MobileNetV3(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(self, stem: int, blocks: Sequence[Block], last: int, point: int, classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, stem, 3, 2)
        self.blocks = nn.ModuleList(InvertedResidual(block) for block in blocks)
        self.last = ConvNorm(blocks[-1].outputs, last, 1)
        self.point = nn.Linear(last, point)
        self.logits = nn.Linear(point, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = functional.hardswish(self.stem(image))
        for block in self.blocks:
            x = block(x)
        x = functional.adaptive_avg_pool2d(functional.hardswish(self.last(x)), 1).flatten(1)
        out: torch.Tensor = self.logits(functional.hardswish(self.point(x)))
        return out


def build(*, image_size: int, classes: int, stem: int, rows: Sequence[Row], last: int, point: int) -> nn.Module:
    """Build the model; ``rows`` is a table like ``spec.SMALL``.

    Raises:
        UsageError: the image is not even before each stride of 2, where the padding would be another.
    """
    blocks = plan(stem, rows)
    halvings = 1 + sum(block.stride == 2 for block in blocks)
    if image_size % 2**halvings:
        raise UsageError(f"image_size {image_size} must be a multiple of {2**halvings} for these rows")
    return MobileNetV3(stem, blocks, last, point, classes)
