"""GPT-2 in Keras, from built-in layers and operations only."""

from __future__ import annotations

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from edgekit.zoo.blocks.keras import attend

#: Added to the scores of later tokens: exp(-60) vanishes beside 1 in float32, and int8 keeps its range.
MASKED = -60.0
EPSILON = 1e-5


def build(*, vocabulary: int, positions: int, width: int, depth: int, heads: int, length: int) -> keras.Model:
    """Build with random weights for sequences of ``length`` <= ``positions`` tokens."""
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    word = layers.ReversibleEmbedding(vocabulary, width, name="word")
    # Indices come from the input, or the embedding would be no layer of this graph; converters fold them.
    places = ops.zeros_like(tokens) + np.arange(length, dtype="int32")
    x = word(tokens) + layers.Embedding(positions, width, name="position")(places)
    mask = np.triu(np.full((length, length), MASKED, "float32"), 1)
    for i in range(depth):
        x = _block(x, mask, f"block_{i}", heads)
    logits = word(_norm("norm")(x), reverse=True)
    return keras.Model(tokens, logits, name="gpt")


def _norm(name: str) -> layers.LayerNormalization:
    return layers.LayerNormalization(epsilon=EPSILON, name=name)


def _block(x: KerasTensor, mask: np.ndarray, name: str, heads: int) -> KerasTensor:
    """Causal self-attention and feed-forward, each behind its LayerNorm and beside a residual."""
    width = x.shape[-1]
    qkv = layers.Dense(3 * width, name=f"{name}_qkv")(_norm(f"{name}_attention_norm")(x))
    query, key, value = ops.split(qkv, 3, axis=-1)
    mixed = attend(query, key, value, heads, mask)
    x = x + layers.Dense(width, name=f"{name}_attended")(mixed)
    hidden = layers.Dense(4 * width, name=f"{name}_inner")(_norm(f"{name}_inner_norm")(x))
    hidden = ops.gelu(hidden, approximate=True)
    return x + layers.Dense(width, name=f"{name}_outer")(hidden)
