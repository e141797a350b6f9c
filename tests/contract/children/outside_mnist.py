"""A user's file: a small network for MNIST, trained in a few seconds when it is built."""

import gzip
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

TRAINED_ON = 4000


def digits():
    """The 10,000 test digits as ``(n, 1, 28, 28)`` float32 in [0, 1], and their labels."""
    folder = Path(os.environ["EDGEKIT_TEST_DATA"]) / "mnist"
    pixels = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:]
    images = np.frombuffer(pixels, np.uint8).reshape(-1, 1, 28, 28).astype("float32") / 255
    return images, np.frombuffer(labels, np.uint8).astype("int64")


def model():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Flatten(), nn.Linear(800, 10),
    )  # fmt: skip
    x, y = (torch.from_numpy(array[:TRAINED_ON]) for array in digits())
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(3):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    net.example_inputs = torch.zeros(1, 1, 28, 28)
    return net
