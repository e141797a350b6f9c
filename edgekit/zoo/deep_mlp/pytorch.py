"""Deep multilayer perceptron in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class Hidden(nn.Module):
    """Linear without bias, BatchNorm, ReLU, dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer."""
        out: torch.Tensor = self.dropout(functional.relu(self.norm(self.linear(x))))
        return out


class DeepMLP(nn.Module):
    """Takes ``(n, features)``, gives ``(n, classes)`` logits."""

    def __init__(self, features: int, hidden: Sequence[int], classes: int, dropout: float) -> None:
        super().__init__()
        widths = (features, *hidden)
        self.hidden = nn.ModuleList(Hidden(i, o, dropout) for i, o in zip(widths, hidden, strict=False))
        self.logits = nn.Linear(widths[-1], classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = features
        for layer in self.hidden:
            x = layer(x)
        out: torch.Tensor = self.logits(x)
        return out


def build(*, features: int, hidden: Sequence[int], classes: int, dropout: float) -> nn.Module:
    """Build the model for so many columns; ``dropout`` is the share that is dropped."""
    return DeepMLP(features, hidden, classes, dropout)
