"""Mamba in PyTorch; modules are named as in transformers, but for the tables ``decay`` (A_log) and ``skip`` (D)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import UsageError
from edgekit.zoo.blocks.pytorch import RMSNorm

EPSILON = 1e-5
#: Tokens that the convolution sees, and by how much wider a block is inside.
KERNEL, EXPANSION = 4, 2
#: Bounds of the step that a token takes at first.
STEPS = (1e-3, 1e-1)
#: An exponent that leaves nothing: of tokens that come later.
LATER = -1e4


class Mixer(nn.Module):
    """Convolution and selective state space (algorithm 2 of the paper), gated."""

    later: Tensor

    def __init__(self, width: int, state: int, rank: int, chunk: int) -> None:
        super().__init__()
        inner = EXPANSION * width
        self.inner, self.state, self.rank, self.chunk = inner, state, rank, chunk
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, KERNEL, groups=inner)
        self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.decay = nn.Embedding(inner, state)
        self.skip = nn.Conv1d(inner, inner, 1, groups=inner, bias=False)
        self.out_proj = nn.Linear(inner, width, bias=False)
        later = torch.triu(torch.full((chunk, chunk), LATER), 1)
        self.register_buffer("later", later[None, :, :, None, None], persistent=False)
        with torch.no_grad():
            self.decay.weight.copy_(torch.log(torch.arange(1, state + 1).float()).expand(inner, -1))
            nn.init.ones_(self.skip.weight)
            nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
            step = torch.exp(torch.rand(inner) * math.log(STEPS[1] / STEPS[0]) + math.log(STEPS[0]))
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # what softplus makes the step of

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (n, T, width)."""
        hidden, gate = self.in_proj(x).split(self.inner, dim=-1)
        hidden = functional.pad(hidden.transpose(1, 2), (KERNEL - 1, 0))
        hidden = functional.silu(self.conv1d(hidden).transpose(1, 2))
        step, write, read = self.x_proj(hidden).split([self.rank, self.state, self.state], dim=-1)
        step = functional.softplus(self.dt_proj(step))
        mixed = self._scan(hidden, step, write, read)
        mixed = mixed + self.skip(hidden.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.out_proj(mixed * functional.silu(gate))
        return out

    def _scan(self, hidden: Tensor, step: Tensor, write: Tensor, read: Tensor) -> Tensor:
        """``h_t = exp(step_t A) h_(t-1) + step_t B_t x_t``, ``y_t = C_t h_t``: (n, T, inner) of all tokens."""
        rate = -torch.exp(self.decay.weight)
        logs = step[..., None] * rate
        added = (step * hidden)[..., None] * write[:, :, None]
        carried, found = torch.zeros_like(added[:, 0]), []
        for start in range(0, hidden.shape[1], self.chunk):
            rows = slice(start, start + self.chunk)
            total = torch.cumsum(logs[:, rows], 1)
            # Of token s in token t: what is left of it, and nothing where s is later.
            left = torch.exp(total[:, :, None] - total[:, None] + self.later)
            states = (left * added[:, None, rows]).sum(2) + torch.exp(total) * carried[:, None]
            found.append((states * read[:, rows, None]).sum(-1))
            carried = states[:, -1]
        return torch.cat(found, 1)


class Block(nn.Module):
    """A mixer behind its norm and beside a residual."""

    def __init__(self, width: int, state: int, rank: int, chunk: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width, EPSILON)
        self.mixer = Mixer(width, state, rank, chunk)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = x + self.mixer(self.norm(x))
        return out


class Mamba(nn.Module):
    """Embedding, blocks, final norm, logits through the transposed embedding."""

    def __init__(self, vocabulary: int, width: int, depth: int, state: int, rank: int, chunk: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width, state, rank, chunk) for _ in range(depth))
        self.norm_f = RMSNorm(width, EPSILON)
        nn.init.normal_(self.embeddings.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` int32 (n, T) -> logits (n, T, vocabulary) of the next tokens."""
        x = self.embeddings(tokens)
        for layer in self.layers:
            x = layer(x)
        return functional.linear(self.norm_f(x), self.embeddings.weight)


def build(*, vocabulary: int, length: int, width: int, depth: int, state: int, rank: int, chunk: int) -> nn.Module:
    """Build with random weights for sequences of ``length`` tokens; ``rank`` is that of the step's projection.

    Raises:
        UsageError: ``chunk`` does not divide ``length``.
    """
    if length % chunk:
        raise UsageError(f"chunk {chunk} must divide length {length}")
    return Mamba(vocabulary, width, depth, state, rank, chunk)
