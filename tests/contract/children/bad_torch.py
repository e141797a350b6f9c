"""A user's own PyTorch models: one that is fine, and some that are not."""

import time

import torch
from torch import nn


class Net(nn.Module):
    """Four classes from 3x8x8."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(288, 4)
        self.example_inputs = torch.zeros(1, 3, 8, 8)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(1))


class Spectrum(Net):
    """Singular values of the features: no edge runtime has them."""

    def forward(self, x):
        return torch.linalg.svdvals(self.conv(x))[:, :, :3]


class Sleeps(Net):
    """Converters run the model to read it: this one keeps them for ever."""

    def forward(self, x):
        if torch.compiler.is_exporting():
            time.sleep(600)
        return super().forward(x)


class Eats(Net):
    """Takes all memory as soon as a converter runs it."""

    def forward(self, x):
        held = []
        while torch.compiler.is_exporting():
            held.append(bytearray(1 << 20))
            time.sleep(0.0005)
        return super().forward(x)


class Branches(Net):
    """Which layer runs depends on the data."""

    def forward(self, x):
        x = self.conv(x)
        if x.mean() > 0:
            x = x * 2
        return self.head(x.flatten(1))


def good():
    return Net()


def nan_weights():
    model = Net()
    model.head.weight.data[0, 1] = float("nan")
    return model


spectrum, sleeps, eats, branches = Spectrum, Sleeps, Eats, Branches
