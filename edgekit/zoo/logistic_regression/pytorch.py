"""Logistic regression in PyTorch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class LogisticRegression(nn.Module):
    """Takes ``(n, features)``, gives ``(n, 1)`` log-odds of the second class."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.logit = nn.Linear(features, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the log-odds."""
        out: torch.Tensor = self.logit(features)
        return out


def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of two classes in nats."""
    return functional.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())


def build(*, features: int) -> nn.Module:
    """Build the model for so many columns."""
    return LogisticRegression(features)
