"""FCN in PyTorch, on ResNet's trunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import ConvNorm
from edgekit.zoo.resnet.pytorch import Trunk
from edgekit.zoo.resnet.spec import Block, Kind, plan

#: Stages that are dilated where ResNet halves the map.
DILATED = 2


class FCN(Trunk):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes, size, size)`` logits."""

    def __init__(
        self,
        kind: Kind,
        blocks: Sequence[Block],
        stem: int,
        stem_kernel: int,
        stem_stride: int,
        classes: int,
        dropout: float,
    ) -> None:
        super().__init__(kind, blocks, stem, stem_kernel, stem_stride)
        width = blocks[-1].outputs
        self.head = ConvNorm(width, width // 4, 3, activation="relu")
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Conv2d(width // 4, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits of every pixel."""
        coarse = self.classes(self.dropout(self.head(self.features(image))))
        return functional.interpolate(coarse, size=image.shape[2:], mode="bilinear", align_corners=False)


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
    dropout: float,
) -> nn.Module:
    """Build the model; ``depths`` and ``widths`` (output channels) have one number per stage."""
    del image_size  # the logits are resized to the image's own
    blocks = plan(kind, depths, widths, stem, dilated=DILATED)
    return FCN(kind, blocks, stem, stem_kernel, stem_stride, classes, dropout)
