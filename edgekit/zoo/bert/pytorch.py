"""BERT in PyTorch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import attend

PADDING = 0
#: Added to the scores of masked keys: exp(-60) vanishes beside 1 in float32, and int8 keeps its range.
MASKED = -60.0
EPSILON = 1e-12


class Block(nn.Module):
    """Self-attention and feed-forward, each followed by its residual sum and LayerNorm."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attended = nn.Linear(width, width)
        self.attended_norm = nn.LayerNorm(width, eps=EPSILON)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        self.outer_norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x`` (n, T, width), ``mask`` (n, 1, 1, T) added to the scores."""
        mixed = attend(self.query(x), self.key(x), self.value(x), self.heads, mask)
        x = self.attended_norm(x + self.attended(mixed))
        normed: Tensor = self.outer_norm(x + self.outer(functional.gelu(self.inner(x))))
        return normed


class Bert(nn.Module):
    """Embeddings, blocks, pooler, and a head where there are classes."""

    def __init__(
        self, vocabulary: int, positions: int, width: int, depth: int, heads: int, inner: int, classes: int | None
    ) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)
        self.token_type = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.block = nn.ModuleList(Block(width, heads, inner) for _ in range(depth))
        self.pooler = nn.Linear(width, width)
        self.head = nn.Linear(width, classes) if classes is not None else None
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                # 0.02 at the published width; attention of a narrow model would start all but uniform with it.
                nn.init.normal_(module.weight, std=0.02 * math.sqrt(768 / width))
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """``tokens`` int32 (n, T) -> logits (n, classes), or hidden (n, T, width) and pooled (n, width)."""
        mask = (tokens == PADDING).to(torch.float32)[:, None, None, :] * MASKED
        x = self.word(tokens) + self.position.weight[: tokens.shape[1]] + self.token_type.weight[0]
        x = self.norm(x)
        for block in self.block:
            x = block(x, mask)
        pooled: Tensor = torch.tanh(self.pooler(x[:, 0]))
        if self.head is None:
            return x, pooled
        logits: Tensor = self.head(pooled)
        return logits


def build(
    *,
    vocabulary: int,
    positions: int,
    width: int,
    depth: int,
    heads: int,
    inner: int,
    length: int,
    classes: int | None,
) -> nn.Module:
    """Build with random weights (normal, 0.02 at width 768); ``inner`` is the width of the feed-forward layer."""
    del length  # only Keras needs it in advance
    return Bert(vocabulary, positions, width, depth, heads, inner, classes)
