"""Small models that are exported in unusual ways: what looks free and is not, what no rule reads."""

import os

import torch
from torch import nn


class Odd(nn.Module):
    """One function of modules, parameters and buffers."""

    def __init__(self, function, shape, buffers=(), **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        for name, tensor in dict(buffers).items():
            self.register_buffer(name, tensor, persistent=False)
        self.function = function
        self.example_inputs = (torch.zeros(shape),)

    def forward(self, x):
        return self.function(self, x)


def built(function, shape, **parts):
    """With rows of weights of very different sizes."""
    model = Odd(function, shape, **parts)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(torch.exp(torch.randn(len(parameter), *[1] * (parameter.ndim - 1))))
    return model.eval()


def _linears(between, **parts):
    parts = {"first": nn.Linear(12, 16), "last": nn.Linear(16, 6), **parts}
    return built(lambda m, x: m.last(between(m, m.first(x))), (1, 12), **parts)


def _tied(model):
    model.last.weight = nn.Parameter(model.first.weight.data)
    return model


def _of(model, **constants):
    vars(model).update(constants)
    return model


def _small_scale():
    model = built(lambda m, x: m.last(m.norm(x)), (1, 12), norm=nn.LayerNorm(12), last=nn.Linear(12, 6))
    with torch.no_grad():
        model.norm.weight[3], model.norm.bias[3] = 1e-39, 1.0
    return model


def _in_place(m, x):
    return m.last(torch.relu(m.first(x.mul_(3).add_(1))))


def _split(m, x):
    one, other = m.last(torch.relu(m.first(x))).chunk(2, -1)
    return one * torch.sigmoid(other)


def _branches(m, x):
    return m.last(torch.cond(x.sum() > 0, lambda h: torch.relu(m.first(h)), lambda h: m.first(h), (x,)))


def _wide(rank):
    convolution = nn.Conv1d if rank == 1 else nn.Conv2d
    parts = {"first": convolution(8, 8, 3, padding=1), "last": convolution(8, 8, 3, padding=1)}
    return built(lambda m, x: m.last(torch.relu(m.first(x))), (8,) * (rank + 1), **parts)


def _summed(equation, shape, weights):
    return built(lambda m, x: torch.einsum(equation, x, m.weight), shape, weight=nn.Parameter(torch.randn(weights)))


def _linear(features, out=16):
    return nn.Linear(features, out, bias=False)


MODELS = {
    "gated by itself": lambda: _linears(lambda m, h: h * torch.relu(h)),
    "added to itself": lambda: _linears(
        lambda m, h: torch.relu(torch.addmm(h, h, m.weight)), weight=nn.Parameter(torch.randn(16, 16))
    ),
    "bias of a wider value": lambda: _linears(
        lambda m, h: torch.relu(h + m.bias), first=nn.Linear(12, 1), bias=nn.Parameter(torch.randn(16))
    ),
    "bias of more axes": lambda: built(
        lambda m, x: m.last(torch.relu(m.first(x) + m.bias)),
        (4, 12),
        first=_linear(12),
        last=nn.Linear(16, 6),
        bias=nn.Parameter(torch.randn(1, 1, 16)),
    ),
    "one memory": lambda: _tied(
        built(lambda m, x: m.last(torch.relu(m.first(x))), (1, 12), first=nn.Linear(12, 12), last=nn.Linear(12, 12))
    ),
    "scale that is not saved": lambda: _linears(
        lambda m, h: torch.relu(torch.tanh(h) * m.scale), buffers={"scale": torch.exp(torch.randn(16))}
    ),
    "bias that is not saved": lambda: _linears(
        lambda m, h: torch.relu(h + m.bias), first=_linear(12), buffers={"bias": torch.randn(16)}
    ),
    "constant": lambda: _of(_linears(lambda m, h: torch.relu(h + m.shift), first=_linear(12)), shift=torch.randn(16)),
    "small scale of a norm": _small_scale,
    "no batch, 1-D": lambda: _wide(1),
    "no batch, 2-D": lambda: _wide(2),
    "einsum without a result": lambda: _summed("bi,oi", (1, 8), (16, 8)),
    "einsum that sums rows": lambda: _summed("bi,oi->b", (1, 8), (16, 8)),
    "einsum that sums positions": lambda: _summed("bti,oi->bo", (1, 4, 8), (16, 8)),
    "einsum of a diagonal": lambda: _summed("bii,oi->bo", (1, 8, 8), (16, 8)),
    "einsum that sums nothing": lambda: _summed("bi,o->bio", (1, 8), (16,)),
    "writes into its input": lambda: built(_in_place, (1, 12), first=nn.Linear(12, 16), last=nn.Linear(16, 6)),
    "split without a bias": lambda: built(_split, (1, 12), first=_linear(12), last=_linear(16, 12)),
    "recurrent": lambda: built(
        lambda m, x: m.last(m.first(x)[0]), (1, 5, 12), first=nn.LSTM(12, 16, batch_first=True), last=nn.Linear(16, 6)
    ),
    "branches": lambda: built(_branches, (1, 12), first=nn.Linear(12, 16), last=nn.Linear(16, 6)),
}


def build():
    """The one that the environment names, with the same weights each time."""
    torch.manual_seed(0)
    return MODELS[os.environ["ODD"]]()
