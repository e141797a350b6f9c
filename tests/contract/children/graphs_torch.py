"""Six graphs in PyTorch, the same for every toolchain; other models by name: single layers, and a large one."""

from __future__ import annotations

import grids
import numpy as np
import torch
from torch import nn
from torch.nn import functional

MODELS = ("cnn", "mlp", "attention", "lstm", "lookup", "llama")
RNG = np.random.default_rng(0)
TOKENS = 40


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 1, 1, groups=4)
        self.depthwise, self.pointwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 12, 1)
        self.up, self.head = nn.ConvTranspose2d(12, 6, 2, 2), nn.Linear(6, 5)

    def forward(self, image):  # type: ignore[no-untyped-def]
        x = self.grouped(torch.relu(self.stem(image)))
        x = self.up(torch.relu(self.pointwise(torch.relu(self.depthwise(torch.relu(x))))))
        return self.head(torch.relu(x).mean((2, 3)))


class Two(nn.Module):
    """Two convolutions and a linear layer, for what is said of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 1, 1), nn.Linear(12, 5)

    def forward(self, image):  # type: ignore[no-untyped-def]
        return self.head(torch.relu(self.second(torch.relu(self.first(image)))).mean((2, 3)))


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(24, 32), nn.Linear(32, 10)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.second(torch.relu(self.first(x)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.norm = nn.Linear(32, 96), nn.Linear(32, 32), nn.LayerNorm(32)
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x):  # type: ignore[no-untyped-def]
        q, k, v = self.qkv(self.norm(x)).reshape(1, 12, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(1, 12, 32))
        return x + self.narrow(functional.gelu(self.wide(x)))


class Lstm(nn.Module):
    """The first state is an input: where it is a constant zero, its products are in no unrolled file."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x, hidden, memory):  # type: ignore[no-untyped-def]
        return self.head(self.cell(x, (hidden, memory))[0][:, -1])


class Lookup(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(TOKENS, 16), nn.Linear(16, 24)

    def forward(self, tokens):  # type: ignore[no-untyped-def]
        return self.head(self.table(tokens))


class Llama(nn.Module):
    """A decoder block: RMS norm, rotary positions, four heads that share two of keys and values, SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(TOKENS, 32), nn.Linear(32, TOKENS, bias=False)
        self.q, self.k, self.v = (nn.Linear(32, n, bias=False) for n in (32, 16, 16))
        self.o, self.gate, self.up = (nn.Linear(32, n, bias=False) for n in (32, 48, 48))
        self.down = nn.Linear(48, 32, bias=False)
        self.first, self.second, self.last = (nn.Parameter(torch.ones(32)) for _ in range(3))
        angles = torch.arange(8)[:, None] / 100 ** (torch.arange(4) / 4)
        self.register_buffer("cos", torch.cos(angles).repeat(1, 2))
        self.register_buffer("sin", torch.sin(angles).repeat(1, 2))
        self.register_buffer("mask", torch.triu(torch.full((8, 8), -60.0), 1))

    def norm(self, x, scale):  # type: ignore[no-untyped-def]
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5) * scale

    def turned(self, x):  # type: ignore[no-untyped-def]
        return x * self.cos + torch.cat((-x[..., 4:], x[..., :4]), -1) * self.sin

    def forward(self, tokens):  # type: ignore[no-untyped-def]
        x = self.table(tokens)
        h = self.norm(x, self.first)
        q = self.turned(self.q(h).reshape(1, 8, 4, 8).transpose(1, 2))
        k = self.turned(self.k(h).reshape(1, 8, 2, 8).transpose(1, 2))
        v = self.v(h).reshape(1, 8, 2, 8).transpose(1, 2)
        k, v = (t[:, :, None].expand(1, 2, 2, 8, 8).reshape(1, 4, 8, 8) for t in (k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / 8**0.5 + self.mask, -1)
        x = x + self.o((weights @ v).transpose(1, 2).reshape(1, 8, 32))
        h = self.norm(x, self.second)
        x = x + self.down(functional.silu(self.gate(h)) * self.up(h))
        return self.head(self.norm(x, self.last))


class Large(nn.Module):
    """4.3 MB of weights in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1024, 1024), nn.Linear(1024, 40)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.second(torch.relu(self.first(x)))


class Sparse(nn.Module):
    """Half of all weights are zero: two of four input channels at every place, and the first half of every row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pairs, self.halves = nn.Conv2d(4, 8, 3), nn.Linear(8, 8), nn.Linear(8, 8)
        generator = torch.Generator().manual_seed(0)
        for layer in (self.conv, self.pairs, self.halves):
            # No other weight is so small that it is rounded to zero.
            size = layer.weight.shape
            values = (1 + torch.rand(size, generator=generator)) * torch.randn(size, generator=generator).sign() / 8
            zero = torch.rand(size, generator=generator)
            if layer is self.halves:
                values[:, :4] = 0
            else:
                groups = zero.reshape(size[0], -1, 4, *size[2:])
                values[(groups.argsort(2).argsort(2) < 2).reshape(size)] = 0
            layer.weight = nn.Parameter(values)

    def forward(self, image):  # type: ignore[no-untyped-def]
        x = torch.relu(self.conv(image)).mean((2, 3))
        return self.halves(torch.relu(self.pairs(x)))


class OnGrid(nn.Linear):
    """A linear layer whose weights lie on grids of 15 numbers already."""

    def __init__(self, shared: str) -> None:
        weights = grids.weights(shared)
        super().__init__(weights.shape[1], weights.shape[0], bias=False)
        self.weight = nn.Parameter(torch.from_numpy(weights))


def floats(*shape: int) -> object:
    return lambda count: RNG.normal(size=(count, *shape)).astype(np.float32)


def tokens(steps: int) -> object:
    return lambda count: RNG.integers(0, TOKENS, (count, steps)).astype(np.int32)


#: One layer each, by name.
LAYERS = {
    "conv": lambda: nn.Conv2d(4, 8, 3),
    "pointwise": lambda: nn.Conv2d(4, 8, 1),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "up": lambda: nn.ConvTranspose2d(4, 8, 2, 2),
    "dense": lambda: nn.Linear(8, 8),
}
INPUTS = {
    "cnn": {"image": floats(3, 16, 16)},
    "two": {"image": floats(3, 16, 16)},
    "mlp": {"x": floats(24)},
    "attention": {"x": floats(12, 32)},
    "lstm": {"x": floats(6, 8), "hidden": floats(1, 16), "memory": floats(1, 16)},
    "lookup": {"tokens": tokens(6)},
    "llama": {"tokens": tokens(8)},
    "large": {"x": floats(1024)},
    "sparse": {"image": floats(4, 8, 8)},
    **{name: {"input": floats(4, 8, 8)} for name in LAYERS},
    **{name: {"input": floats(grids.INPUTS)} for name in grids.SHARED},
}
CLASSES = {"cnn": Cnn, "two": Two, "mlp": Mlp, "attention": Attention, "lstm": Lstm, "lookup": Lookup, "llama": Llama}
CLASSES |= {"large": Large, "sparse": Sparse, **LAYERS}
CLASSES |= {name: lambda name=name: OnGrid(name) for name in grids.SHARED}


def model(name: str) -> nn.Module:
    torch.manual_seed(0)
    made = CLASSES[name]().eval()
    made.example_inputs = {key: torch.from_numpy(draw(1)) for key, draw in INPUTS[name].items()}
    return made


# Functions without arguments, as ``file.py:function`` sources want them.
for _name in CLASSES:
    globals()[f"make_{_name}"] = lambda name=_name: model(name)
