"""Multilayer perceptron in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class MLP(nn.Module):
    """Dense layers with ReLU between them; takes ``(n, 1, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(self, inputs: int, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        widths = (inputs, *hidden)
        self.hidden = nn.ModuleList(nn.Linear(i, o) for i, o in zip(widths, hidden, strict=False))
        self.logits = nn.Linear(widths[-1], classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = image.flatten(1)
        for layer in self.hidden:
            x = functional.relu(layer(x))
        out: torch.Tensor = self.logits(x)
        return out


def build(*, image_size: int, hidden: Sequence[int], classes: int) -> nn.Module:
    """Build the model for grey images of ``image_size`` pixels square."""
    return MLP(image_size**2, hidden, classes)
