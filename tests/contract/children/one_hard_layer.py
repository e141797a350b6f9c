"""A model of four layers of which one loses its weights in 8 bits: those of a dead channel are fifty times as large."""

import numpy as np
import torch
from torch import nn


class OneHardLayer(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.hard = (nn.Linear(32, 32) for _ in range(3))
        self.last = nn.Linear(32, 4)
        with torch.no_grad():
            for layer in (self.first, self.second, self.hard, self.last):
                layer.weight.mul_(3)
            self.second.weight[0], self.second.bias[0] = 0.0, 0.0
            self.hard.weight[:, 0] = 25.0
        self.example_inputs = torch.zeros(1, 32)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.last(torch.relu(self.hard(x)))


def write_data(folder):
    """Calibration samples, and samples labelled with the model's own answers, where these are clear."""
    x = np.random.default_rng(0).standard_normal((3400, 32)).astype("float32")
    with torch.no_grad():
        answers = OneHardLayer()(torch.from_numpy(x)).numpy()
    ordered = np.sort(answers, axis=1)
    clear = np.argsort(-(ordered[:, -1] - ordered[:, -2])[100:], kind="stable")[:2300] + 100
    np.savez(folder / "calibrate.npz", x=x[:100])
    np.savez(folder / "evaluate.npz", x=x[clear], y=answers[clear].argmax(1))
