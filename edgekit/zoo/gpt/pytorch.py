"""GPT-2 in PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import attend

#: Added to the scores of later tokens: exp(-60) vanishes beside 1 in float32, and int8 keeps its range.
MASKED = -60.0
EPSILON = 1e-5


class Block(nn.Module):
    """Causal self-attention and feed-forward, each behind its LayerNorm and beside a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.inner_norm = nn.LayerNorm(width, eps=EPSILON)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x`` (n, T, width), ``mask`` (T, T) added to the scores."""
        query, key, value = self.qkv(self.attention_norm(x)).split(x.shape[-1], dim=-1)
        mixed = attend(query, key, value, self.heads, mask)
        x = x + self.attended(mixed)
        summed: Tensor = x + self.outer(functional.gelu(self.inner(self.inner_norm(x)), approximate="tanh"))
        return summed


class GPT(nn.Module):
    """Embeddings, blocks, final norm, logits through the transposed token embedding."""

    mask: Tensor

    def __init__(self, vocabulary: int, positions: int, width: int, depth: int, heads: int, length: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)
        self.block = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.register_buffer("mask", torch.triu(torch.full((length, length), MASKED), 1), persistent=False)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                # The paper scales what is added to the residual by one over the root of the number of additions.
                residual = name.endswith(("attended", "outer"))
                nn.init.normal_(module.weight, std=0.02 / math.sqrt(2 * depth) if residual else 0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` int32 (n, T), T = length -> logits (n, T, vocabulary) of the next tokens."""
        x = self.word(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.block:
            x = block(x, self.mask)
        return functional.linear(self.norm(x), self.word.weight)


def build(*, vocabulary: int, positions: int, width: int, depth: int, heads: int, length: int) -> nn.Module:
    """Build with random weights (normal, 0.02) for sequences of ``length`` <= ``positions`` tokens."""
    return GPT(vocabulary, positions, width, depth, heads, length)
