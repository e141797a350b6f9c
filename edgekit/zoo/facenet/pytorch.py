"""FaceNet in PyTorch, on Inception's trunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.inception.pytorch import chain
from edgekit.zoo.inception.spec import Layer

#: Added to the square of a length, which is divided by.
TINY = 1e-12
#: By how much a stranger must be farther than the same person, in squared distance (section 3.1 of the paper).
MARGIN = 0.2


class FaceNet(nn.Module):
    """Takes ``(n, 3, size, size)``, gives embeddings ``(n, code)`` of length 1."""

    def __init__(self, table: Sequence[Layer], code: int) -> None:
        super().__init__()
        self.layers, outputs = chain(3, table)
        self.embed = nn.Linear(outputs, code, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the embedding."""
        code = self.embed(functional.adaptive_avg_pool2d(self.layers(image), 1).flatten(1))
        scaled: Tensor = code * torch.rsqrt(code.pow(2).sum(1, keepdim=True) + TINY)
        return scaled


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean triplet loss over all pairs of one person in the batch, each with the nearest stranger that is farther.

    Where no stranger is farther than the pair is apart, the farthest one is taken (section 3.2: semi-hard negatives).
    """
    apart = 2 - 2 * outputs @ outputs.T
    same = labels[:, None] == labels[None, :]
    pairs = same & ~torch.eye(len(labels), dtype=torch.bool)
    anchor, positive = pairs.nonzero(as_tuple=True)
    near = apart[anchor, positive]
    strangers = apart[anchor].masked_fill(same[anchor], float("inf"))
    farther = strangers.masked_fill(strangers <= near[:, None], float("inf")).min(1).values
    farthest = strangers.masked_fill(same[anchor], float("-inf")).max(1).values
    negative = torch.where(torch.isfinite(farther), farther, farthest)
    return functional.relu(near - negative + MARGIN).mean()


def build(*, image_size: int, table: Sequence[Layer], code: int) -> nn.Module:
    """Build the model on a trunk like ``inception.spec.GOOGLENET``; ``code`` is the length of an embedding."""
    del image_size  # a convolutional network with a global average takes any
    return FaceNet(table, code)
