"""The Vision Transformer in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import attend

EPSILON = 1e-6


class Block(nn.Module):
    """Self-attention and feed-forward, each behind its LayerNorm and beside a residual."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=EPSILON)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.attended = nn.Linear(width, width)
        self.inner_norm = nn.LayerNorm(width, eps=EPSILON)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (n, tokens, width)."""
        normed = self.attention_norm(x)
        mixed = attend(self.query(normed), self.key(normed), self.value(normed), self.heads)
        x = x + self.attended(mixed)
        hidden = self.dropout(functional.gelu(self.inner(self.inner_norm(x))))
        summed: Tensor = x + self.dropout(self.outer(hidden))
        return summed


class ViT(nn.Module):
    """Takes ``(n, 3, size, size)``, gives ``(n, classes)`` logits."""

    def __init__(
        self, tokens: int, patch: int, classes: int, width: int, depth: int, heads: int, inner: int, dropout: float
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Embedding(1, width)
        self.position = nn.Embedding(tokens + 1, width)
        self.block = nn.ModuleList(Block(width, heads, inner, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.logits = nn.Linear(width, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits."""
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        first = self.class_token.weight.expand(tokens.shape[0], 1, -1)
        x = torch.cat((first, tokens), 1) + self.position.weight
        for block in self.block:
            x = block(x)
        out: Tensor = self.logits(self.norm(x)[:, 0])
        return out


def build(
    *, image_size: int, patch: int, classes: int, width: int, depth: int, heads: int, inner: int, dropout: float
) -> nn.Module:
    """Build with random weights; ``inner`` is the width of the feed-forward layer."""
    return ViT((image_size // patch) ** 2, patch, classes, width, depth, heads, inner, dropout)
