"""Models whose first axes are no batch, with an example of each input; and what they answer to it."""

import numpy as np
import torch
from torch import nn


class Table(nn.Module):
    """A table of 16 rows, each seen beside their mean: one row more or less is another answer."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(8, 32), nn.Linear(32, 3)

    def forward(self, table):
        rows = torch.relu(self.hidden(table))
        pooled = rows.mean(0)
        return {"rows": self.out(rows + pooled), "pooled": self.out(pooled)}


class States(nn.Module):
    """An LSTM that takes and gives its states: layers x batch x width."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 64, num_layers=2, batch_first=True)
        self.out = nn.Linear(64, 2)

    def forward(self, x, h0, c0):
        y, (h1, c1) = self.lstm(x, (h0, c0))
        return {"y": self.out(y), "h1": h1, "c1": c1}


def _seeded(model, *shapes):
    torch.manual_seed(0)
    made = model()
    made.example_inputs = tuple(torch.randn(shape) for shape in shapes)
    return made


def table():
    return _seeded(Table, (16, 8))


def states():
    return _seeded(States, (1, 5, 6), (2, 1, 64), (2, 1, 64))


def batch8():
    """Rows that do not see each other, eight in the example."""
    return _seeded(lambda: nn.Linear(8, 3), (8, 8))


def tables():
    """Whole samples, as the table model takes them, one after the other."""
    yield from np.random.default_rng(1).normal(size=(64, 16, 8)).astype("float32")


def sequences():
    random = np.random.default_rng(1)
    shapes = {"x": (64, 5, 6), "h0": (64, 2, 1, 64), "c0": (64, 2, 1, 64)}
    return {name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def answers(function):
    """The example's own inputs and the model's outputs on them, by name."""
    model = globals()[function]().eval()
    names = ["table"] if function == "table" else ["x", "h0", "c0"]
    with torch.no_grad():
        outputs = model(*model.example_inputs)
    return [
        {n: t.numpy() for n, t in side.items()}
        for side in (dict(zip(names, model.example_inputs, strict=True)), outputs)
    ]
