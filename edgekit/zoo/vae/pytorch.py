"""The variational autoencoder in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import flat


class VAE(nn.Module):
    """Takes ``(n, 1, size, size)`` in 0..1, gives pixels, and mean and log-variance ``(n, code)`` of a code.

    Pixels are those of the image as the code tells them, in rows of ``size * size``.
    """

    def __init__(self, image_size: int, hidden: int, code: int) -> None:
        super().__init__()
        self.encode = nn.Linear(image_size**2, hidden)
        self.mean = nn.Linear(hidden, code)
        self.log_variance = nn.Linear(hidden, code)
        self.decode = nn.Linear(code, hidden)
        self.pixels = nn.Linear(hidden, image_size**2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Code the image and give it again; in training the code is drawn."""
        hidden = functional.relu(self.encode(flat(image)))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean
        if self.training:
            code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        pixels = torch.sigmoid(self.pixels(functional.relu(self.decode(code))))
        return pixels, mean, log_variance


def loss(outputs: tuple[Tensor, Tensor, Tensor], labels: Tensor) -> Tensor:
    """Negative evidence lower bound per image in nats (equation 10 of the paper), pixels as Bernoulli variables."""
    again, mean, log_variance = outputs
    pixels = functional.binary_cross_entropy(again, labels, reduction="sum")
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return (pixels + divergence) / len(labels)


def build(*, image_size: int, hidden: int, code: int) -> nn.Module:
    """Build the model for grey images; ``code`` is the number of hidden variables."""
    return VAE(image_size, hidden, code)
