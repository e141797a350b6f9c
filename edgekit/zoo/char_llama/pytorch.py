"""Llama in PyTorch; modules are named as in transformers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.zoo.blocks.pytorch import RMSNorm
from edgekit.zoo.char_llama.spec import EPSILON, mask, rotations


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs made of the two halves of the last axis by the angles of their places (next to last axis)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Attention(nn.Module):
    """Causal self-attention, where ``heads`` queries share the keys and values of ``groups``."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.q_proj = nn.Linear(width, heads * self.size, bias=False)
        self.k_proj = nn.Linear(width, groups * self.size, bias=False)
        self.v_proj = nn.Linear(width, groups * self.size, bias=False)
        self.o_proj = nn.Linear(heads * self.size, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, masked: Tensor) -> Tensor:
        """``x`` (n, T, width), ``cos`` and ``sin`` (T, size), ``masked`` (T, T) added to the scores."""
        n, length, _ = x.shape
        query = self.q_proj(x).reshape(n, length, self.heads, self.size).transpose(1, 2)
        key = self.k_proj(x).reshape(n, length, self.groups, self.size).transpose(1, 2)
        value = self.v_proj(x).reshape(n, length, self.groups, self.size).transpose(1, 2)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        key, value = (part.repeat_interleave(self.heads // self.groups, dim=1) for part in (key, value))
        scores = torch.matmul(query * (1 / math.sqrt(self.size)), key.transpose(2, 3)) + masked
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(n, length, self.heads * self.size))
        return out


class MLP(nn.Module):
    """SwiGLU: a linear layer, gated by SiLU of another."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each behind its RMSNorm and beside a residual."""

    def __init__(self, width: int, heads: int, groups: int, inner: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(width, EPSILON)
        self.self_attn = Attention(width, heads, groups)
        self.post_attention_layernorm = RMSNorm(width, EPSILON)
        self.mlp = MLP(width, inner)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, masked: Tensor) -> Tensor:
        """Apply the block."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, masked)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Llama(nn.Module):
    """Embedding, blocks, final norm, logits."""

    cos: Tensor
    sin: Tensor
    mask: Tensor

    def __init__(
        self, vocabulary: int, width: int, depth: int, heads: int, groups: int, inner: int, theta: float,
        tied: bool, length: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width, heads, groups, inner) for _ in range(depth))
        self.norm = RMSNorm(width, EPSILON)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.lm_head.weight = self.embed_tokens.weight
        cos, sin = rotations(length, width // heads, theta)
        self.register_buffer("cos", torch.tensor(cos), persistent=False)
        self.register_buffer("sin", torch.tensor(sin), persistent=False)
        self.register_buffer("mask", torch.tensor(mask(length)), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens`` int32 (n, T), T = length -> logits (n, T, vocabulary) of the next tokens."""
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin, self.mask)
        out: Tensor = self.lm_head(self.norm(x))
        return out


def build(
    *, vocabulary: int, width: int, depth: int, heads: int, groups: int, inner: int, theta: float, tied: bool,
    length: int,
) -> nn.Module:  # fmt: skip
    """Build with random weights (normal, 0.02) for sequences of ``length`` tokens."""
    return Llama(vocabulary, width, depth, heads, groups, inner, theta, tied, length)
