"""A user's model that is called step by step: what it hands to its next step has layers for its first axis."""

import torch
from torch import nn

LAYERS, WIDTH = 2, 64


class Steps(nn.Module):
    """A GRU of two layers, one step of it, with its states as an input and an output."""

    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(8, WIDTH, LAYERS), nn.Linear(WIDTH, 3)

    def forward(self, x, state):
        y, after = self.gru(x[None], state)
        return {"y": self.out(y[0]), "next": after}


def made(said):
    torch.manual_seed(0)
    model = Steps()
    model.example_inputs = (torch.randn(1, 8), torch.randn(LAYERS, 1, WIDTH))
    model.streaming_state = said
    return model


def first():
    """Another value for each element, far from 0."""
    return torch.linspace(-0.9, 0.9, LAYERS * WIDTH).reshape(LAYERS, 1, WIDTH)


def from_a_tensor():
    return made({"state": ("next", first())})


def from_ones():
    return made({"state": ("next", torch.ones(LAYERS, 1, WIDTH))})


def from_zero():
    return made({"state": "next"})


def misnamed():
    return made({"state": "last"})


def unlike():
    return made({"state": "y"})


def misshapen():
    return made({"state": ("next", torch.ones(WIDTH))})


def infinite():
    return made({"state": ("next", float("inf"))})
