"""Feed-forward style transfer in PyTorch."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit import zoo
from edgekit.zoo import weights
from edgekit.zoo.resnet.pytorch import ResNet
from edgekit.zoo.resnet.pytorch import build as resnet
from edgekit.zoo.resnet.spec import SPEC as RESNET

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)
#: The checkpoint whose features the loss compares.
DATA = ("../resnet/tiny.safetensors",)

#: Weights of the parts of the loss.
CONTENT, STYLE, VARIATION = 0.5, 1.0, 1.0
#: Of the features, which the content's are.
KEPT = 2


class ConvNorm(nn.Module):
    """Convolution of an image whose edges are reflected, and instance norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect")
        self.norm = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and normalize."""
        out: Tensor = self.norm(self.conv(x))
        return out


class Residual(nn.Module):
    """Two 3x3 convolutions, added to the input without a ReLU behind."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels, 3)
        self.second = ConvNorm(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = x + self.second(functional.relu(self.first(x)))
        return out


class StyleTransfer(nn.Module):
    """Takes ``(n, 3, size, size)`` in -1..1, gives the same scene in the style that it was trained on."""

    def __init__(self, widths: Sequence[int], residuals: int, kernel: int) -> None:
        super().__init__()
        self.first = ConvNorm(3, widths[0], kernel)
        self.down = nn.ModuleList(ConvNorm(i, o, 3, 2) for i, o in pairwise(widths))
        self.residual = nn.ModuleList(Residual(widths[-1]) for _ in range(residuals))
        self.up = nn.ModuleList(ConvNorm(i, o, 3) for i, o in pairwise(reversed(widths)))
        self.last = nn.Conv2d(widths[0], 3, kernel, 1, kernel // 2, padding_mode="reflect")

    def forward(self, image: Tensor) -> Tensor:
        """Paint the image again."""
        x = functional.relu(self.first(image))
        for down in self.down:
            x = functional.relu(down(x))
        for residual in self.residual:
            x = residual(x)
        for up in self.up:
            x = functional.relu(up(functional.interpolate(x, scale_factor=2, mode="nearest")))
        return torch.tanh(self.last(x))


@functools.cache
def _judge() -> ResNet:
    """The network whose features the loss compares, this zoo's own, trained on colour and texture; it does not move."""
    settings: dict[str, Any] = dict(RESNET.configs["tiny"].settings)
    with torch.random.fork_rng(devices=[]):  # its first weights must not draw what training would draw behind it
        network = resnet(**settings)
    path = zoo.weights_path("resnet", "tiny")
    assert path is not None
    weights.load_torch(network, weights.read(path))
    assert isinstance(network, ResNet)
    return network.eval().requires_grad_(False)


def _features(image: Tensor) -> list[Tensor]:
    """The colours themselves, then maps behind ReLUs, from that of full size to that of an eighth."""
    network = _judge()
    first = functional.relu(network.bn1(network.conv1(image)))
    return [(image + 1) / 2, first, *network.maps(image)]


def _gram(features: Tensor) -> Tensor:
    """How features go together, wherever they do (equation 3 of the paper)."""
    rows = features.flatten(2)
    return rows @ rows.mT / rows[0].numel()


def _apart(found: Tensor, wanted: Tensor) -> Tensor:
    """Square of the distance, in units of what is wanted: maps and layers have no scale in common."""
    return (found - wanted).square().mean() / wanted.square().mean()


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Content, style and total variation (section 3.2 of the paper); labels ``(n, 2, size, size, 3)`` are both images.

    Content is compared in grey: features that were trained to tell colours apart would keep those of the content.
    """
    content, style = labels.movedim(-1, 2).unbind(1)
    kept = _apart(_features(_grey(outputs))[KEPT], _features(_grey(content))[KEPT])
    pairs = zip(_features(outputs), _features(style[:1]), strict=True)
    styles = [_apart(_gram(ours), _gram(theirs)) for ours, theirs in pairs]
    varied = outputs.diff(dim=-1).abs().mean() + outputs.diff(dim=-2).abs().mean()
    return CONTENT * kept + STYLE * torch.stack(styles).sum() + VARIATION * varied


def _grey(image: Tensor) -> Tensor:
    return image.mean(1, keepdim=True).expand_as(image)


def build(*, image_size: int, widths: Sequence[int], residuals: int, kernel: int) -> nn.Module:
    """Build the model; ``widths`` are the channels from full size to the bottom, ``kernel`` that of both ends."""
    del image_size  # a convolutional network takes any multiple of 2 ** (len(widths) - 1)
    return StyleTransfer(widths, residuals, kernel)
