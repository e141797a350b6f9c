"""MobileNetV2 in PyTorch, with the padding of the TensorFlow original."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.errors import UsageError
from edgekit.zoo.mobilenet_v2.spec import Block, Plan, Stage, plan


class ConvNorm(nn.Module):
    """Convolution and BatchNorm (epsilon 1e-3), padded as TensorFlow's SAME pads an even image."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.shifted = stride == 2
        padding = 0 if self.shifted else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad, convolve, normalize."""
        if self.shifted:
            x = functional.pad(x, (0, 1, 0, 1))
        out: torch.Tensor = self.norm(self.conv(x))
        return out


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project without activation; the input is added where shapes allow."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.residual = block.residual
        self.expand = ConvNorm(block.inputs, block.expanded, 1) if block.expanded != block.inputs else None
        self.depthwise = ConvNorm(block.expanded, block.expanded, 3, block.stride, groups=block.expanded)
        self.project = ConvNorm(block.expanded, block.outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block."""
        wide = x if self.expand is None else functional.relu6(self.expand(x))
        out: torch.Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(self, plan: Plan, classes: int) -> None:
        super().__init__()
        self.stem = ConvNorm(3, plan.stem, 3, 2)
        self.blocks = nn.ModuleList(InvertedResidual(block) for block in plan.blocks)
        self.head = ConvNorm(plan.blocks[-1].outputs, plan.head, 1)
        self.logits = nn.Linear(plan.head, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = functional.relu6(self.stem(image))
        for block in self.blocks:
            x = block(x)
        x = functional.adaptive_avg_pool2d(functional.relu6(self.head(x)), 1).flatten(1)
        out: torch.Tensor = self.logits(x)
        return out


def build(*, image_size: int, classes: int, alpha: float, stages: Sequence[Stage], head: int) -> nn.Module:
    """Build the model; ``stages`` is a table like ``spec.STAGES``.

    Raises:
        UsageError: the image is not even before each stride of 2, where the padding would be another.
    """
    made = plan(alpha, stages, head)
    halvings = 1 + sum(block.stride == 2 for block in made.blocks)
    if image_size % 2**halvings:
        raise UsageError(f"image_size {image_size} must be a multiple of {2**halvings} for these stages")
    return MobileNetV2(made, classes)
