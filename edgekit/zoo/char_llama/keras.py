"""Llama in Keras, from built-in layers and operations only."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from edgekit.zoo.char_llama.spec import EPSILON, mask, rotations


def build(
    *, vocabulary: int, width: int, depth: int, heads: int, groups: int, inner: int, theta: float, tied: bool,
    length: int,
) -> keras.Model:  # fmt: skip
    """Build with random weights for sequences of ``length`` tokens."""
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    if tied:
        embedding = layers.ReversibleEmbedding(vocabulary, width, name="embed_tokens")
    else:
        embedding = layers.Embedding(vocabulary, width, name="embed_tokens")
    x = embedding(tokens)
    cos, sin = rotations(length, width // heads, theta)
    for i in range(depth):
        path = f"layers_{i}"
        x = x + _attention(_norm(x, f"{path}_input_layernorm"), f"{path}_self_attn", heads, groups, cos, sin)
        x = x + _mlp(_norm(x, f"{path}_post_attention_layernorm"), f"{path}_mlp", inner)
    x = _norm(x, "norm")
    logits = embedding(x, reverse=True) if tied else _linear(x, "lm_head", vocabulary)
    return keras.Model(tokens, logits, name="char_llama")


def _norm(x: Any, path: str) -> Any:
    return layers.RMSNormalization(epsilon=EPSILON, name=path)(x)


def _linear(x: Any, path: str, outputs: int) -> Any:
    return layers.Dense(outputs, use_bias=False, name=path)(x)


def _rotate(x: KerasTensor, cos: np.ndarray, sin: np.ndarray) -> Any:
    """Turn the pairs made of the two halves of the last axis by the angles of their places (next to last axis)."""
    first, second = ops.split(x, 2, axis=-1)
    return x * cos + ops.concatenate([-second, first], axis=-1) * sin


def _attention(x: KerasTensor, path: str, heads: int, groups: int, cos: np.ndarray, sin: np.ndarray) -> Any:
    """Causal self-attention, where ``heads`` queries share the keys and values of ``groups``."""
    _, length, width = x.shape
    size = width // heads

    def split(name: str, count: int) -> Any:
        parts = ops.reshape(_linear(x, f"{path}_{name}", count * size), (-1, length, count, size))
        return ops.transpose(parts, (0, 2, 1, 3))

    query, key, value = split("q_proj", heads), split("k_proj", groups), split("v_proj", groups)
    query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
    key, value = (ops.repeat(part, heads // groups, axis=1) for part in (key, value))
    scores = ops.matmul(query * (1 / math.sqrt(size)), ops.transpose(key, (0, 1, 3, 2))) + mask(length)
    mixed = ops.transpose(ops.matmul(ops.softmax(scores, axis=-1), value), (0, 2, 1, 3))
    return _linear(ops.reshape(mixed, (-1, length, width)), f"{path}_o_proj", width)


def _mlp(x: KerasTensor, path: str, inner: int) -> Any:
    """SwiGLU: a linear layer, gated by SiLU of another."""
    gate = ops.silu(_linear(x, f"{path}_gate_proj", inner))
    return _linear(gate * _linear(x, f"{path}_up_proj", inner), f"{path}_down_proj", x.shape[-1])
