"""Blocks of several architectures in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks import InvertedResidual as Facts
from edgekit.zoo.blocks import Padding

ACTIVATIONS: dict[str | None, Callable[[Tensor], Tensor]] = {
    None: lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
    "silu": functional.silu,
    "hard_swish": functional.hardswish,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": functional.hardsigmoid,
}


class ConvNorm(nn.Module):
    """Convolution without bias, BatchNorm, and an activation where one is named.

    With ``padding="same"`` and a stride of 2 the image must be even.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        *,
        padding: Padding = "symmetric",
        groups: int = 1,
        epsilon: float = 1e-5,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.before = (
            (wide // 2 - 1, wide // 2, high // 2 - 1, high // 2) if padding == "same" and stride == 2 else None
        )
        around = (0, 0) if padding == "valid" or self.before else (high // 2, wide // 2)
        self.conv = nn.Conv2d(inputs, outputs, (high, wide), stride, around, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=epsilon)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Pad, convolve, normalize, activate."""
        if self.before is not None:
            x = functional.pad(x, self.before)
        return ACTIVATIONS[self.activation](self.norm(self.conv(x)))


class SqueezeExcite(nn.Module):
    """Weigh each channel by what the averages of all say; fc1 and fc2 as torchvision calls them."""

    def __init__(self, channels: int, squeezed: int, gates: tuple[str, str]) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.gates = gates

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        first, second = (ACTIVATIONS[gate] for gate in self.gates)
        average = functional.adaptive_avg_pool2d(x, 1)
        return x * second(self.fc2(first(self.fc1(average))))


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, weigh, project without activation; the input is added where shapes allow."""

    def __init__(self, block: Facts, *, epsilon: float) -> None:
        super().__init__()
        self.residual = block.residual
        self.expand = None
        if block.expanded != block.inputs:
            self.expand = ConvNorm(block.inputs, block.expanded, 1, epsilon=epsilon, activation=block.activation)
        self.depthwise = ConvNorm(
            block.expanded, block.expanded, block.kernel, block.stride,
            padding="same", groups=block.expanded, epsilon=epsilon, activation=block.activation,
        )  # fmt: skip
        self.squeeze = SqueezeExcite(block.expanded, block.squeezed, block.gates) if block.squeezed else None
        self.project = ConvNorm(block.expanded, block.outputs, 1, epsilon=epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        wide = self.depthwise(x if self.expand is None else self.expand(x))
        out: Tensor = self.project(wide if self.squeeze is None else self.squeeze(wide))
        return x + out if self.residual else out


class RMSNorm(nn.Module):
    """Division by the root of the mean square (Zhang and Sennrich, arXiv:1910.07467), and a scale per channel."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the last axis."""
        scaled: Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight
        return scaled


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., arXiv:1706.03762) of ``heads`` heads.

    ``query`` (n, T, width), ``key`` and ``value`` (n, S, width) -> (n, T, width); ``mask`` is added to the scores
    (n, heads, T, S).
    """
    n, length, width = query.shape
    size = width // heads
    query = query.reshape(n, length, heads, size).permute(0, 2, 1, 3) * (1 / math.sqrt(size))
    key = key.reshape(n, key.shape[1], heads, size).permute(0, 2, 3, 1)
    value = value.reshape(n, value.shape[1], heads, size).permute(0, 2, 1, 3)
    scores = torch.matmul(query, key)
    weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
    return torch.matmul(weights, value).permute(0, 2, 1, 3).reshape(n, length, width)


def corners_of(boxes: Tensor) -> Tensor:
    """Boxes as centre x, y, width and height -> left, top, right, bottom."""
    half = boxes[..., 2:] / 2
    return torch.cat((boxes[..., :2] - half, boxes[..., :2] + half), -1)


def overlaps(objects: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of corners ``(n, objects, 4)`` and ``(n or 1, boxes, 4)``: ``(n, objects, boxes)``."""
    a, b = objects[:, :, None], boxes[:, None]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    return shared / union.clamp(min=1e-6)


def offsets_to(objects: Tensor, boxes: Tensor, variances: tuple[float, float]) -> Tensor:
    """What ``detection.from_default`` makes objects' corners of, with these boxes (centre and size)."""
    centre, size = (objects[..., :2] + objects[..., 2:]) / 2, (objects[..., 2:] - objects[..., :2]).clamp(min=1)
    sides = boxes[..., 2:].clamp(min=1e-3)
    return torch.cat(((centre - boxes[..., :2]) / sides / variances[0], (size / sides).log() / variances[1]), -1)


def flat(x: Tensor) -> Tensor:
    """A map (n, channels, height, width) as a row, channels last: in Keras's order."""
    return x.permute(0, 2, 3, 1).flatten(1)


def he_normal(model: nn.Module) -> None:
    """Weights for networks of ReLU without norms (He et al., arXiv:1502.01852), biases of zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
