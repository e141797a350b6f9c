"""LeNet-5 in PyTorch; layers are named as in the paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class LeNet5(nn.Module):
    """Takes ``(n, 1, 32, 32)``, gives ``(n, classes)`` logits."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        c1, c3, c5, f6 = widths
        self.c1 = nn.Conv2d(1, c1, 5)
        self.c3 = nn.Conv2d(c1, c3, 5)
        self.c5 = nn.Conv2d(c3, c5, 5)
        self.f6 = nn.Linear(c5, f6)
        self.logits = nn.Linear(f6, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the logits."""
        x = functional.avg_pool2d(torch.tanh(self.c1(image)), 2, 2)
        x = functional.avg_pool2d(torch.tanh(self.c3(x)), 2, 2)
        x = torch.tanh(self.c5(x)).flatten(1)
        out: torch.Tensor = self.logits(torch.tanh(self.f6(x)))
        return out


def build(*, widths: Sequence[int], classes: int) -> nn.Module:
    """Build the model; ``widths`` are the maps of C1, C3, C5 and the units of F6."""
    return LeNet5(widths, classes)
