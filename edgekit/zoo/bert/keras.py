"""BERT in Keras, from built-in layers and operations only."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from edgekit.zoo.blocks.keras import attend

PADDING = 0
#: Added to the scores of masked keys: exp(-60) vanishes beside 1 in float32, and int8 keeps its range.
MASKED = -60.0
EPSILON = 1e-12


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
) -> keras.Model:
    """Build with random weights for sequences of ``length``; ``inner`` is the width of the feed-forward layer."""
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    mask = ops.cast(ops.equal(tokens, PADDING), "float32") * MASKED
    mask = ops.reshape(mask, (-1, 1, 1, length))
    # Indices come from the input, or the embeddings would be no layers of this graph; converters fold them.
    zeros = ops.zeros_like(tokens)
    x = layers.Embedding(vocabulary, width, name="word")(tokens)
    x = x + layers.Embedding(positions, width, name="position")(zeros + np.arange(length, dtype="int32"))
    x = x + layers.Embedding(2, width, name="token_type")(zeros)
    x = _norm("norm")(x)
    for i in range(depth):
        x = _block(x, mask, f"block_{i}", heads, inner)
    pooled = layers.Dense(width, activation="tanh", name="pooler")(x[:, 0])
    outputs = [x, pooled] if classes is None else layers.Dense(classes, name="head")(pooled)
    return keras.Model(tokens, outputs, name="bert")


def _norm(name: str) -> layers.LayerNormalization:
    return layers.LayerNormalization(epsilon=EPSILON, name=name)


def _block(x: KerasTensor, mask: KerasTensor, name: str, heads: int, inner: int) -> KerasTensor:
    """Self-attention and feed-forward, each followed by its residual sum and LayerNorm."""
    width = x.shape[-1]
    query, key, value = (layers.Dense(width, name=f"{name}_{part}")(x) for part in ("query", "key", "value"))
    mixed = attend(query, key, value, heads, mask)
    x = _norm(f"{name}_attended_norm")(x + layers.Dense(width, name=f"{name}_attended")(mixed))
    hidden = layers.Dense(inner, name=f"{name}_inner")(x)
    hidden = hidden * 0.5 * (ops.erf(hidden * math.sqrt(0.5)) + 1.0)
    return _norm(f"{name}_outer_norm")(x + layers.Dense(width, name=f"{name}_outer")(hidden))
