"""A small CNN as somebody hands it in, for ``benchmarks/several.py``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def build() -> nn.Module:
    """LeNet-5 in size, with weights from a seed: (1, 1, 32, 32) to 10 classes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 128, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def samples() -> Iterator[NDArray[np.float32]]:
    """128 smooth images: what noise of ever fewer pixels gives, enlarged."""
    generator = np.random.default_rng(0)
    for _ in range(128):
        coarse = generator.normal(size=(1, 1, 8, 8)).astype(np.float32)
        yield np.kron(coarse, np.ones((1, 1, 4, 4), np.float32))
