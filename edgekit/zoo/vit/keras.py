"""The Vision Transformer in Keras."""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from edgekit.zoo.blocks.keras import attend

EPSILON = 1e-6


def build(
    *, image_size: int, patch: int, classes: int, width: int, depth: int, heads: int, inner: int, dropout: float
) -> keras.Model:
    """Build with random weights; ``inner`` is the width of the feed-forward layer."""
    count = (image_size // patch) ** 2
    image = keras.Input((image_size, image_size, 3), name="image")
    tokens = ops.reshape(layers.Conv2D(width, patch, patch, name="patches")(image), (-1, count, width))
    # Indices come from the input, or the embeddings would be no layers of this graph; converters fold them.
    zero = ops.cast(ops.zeros_like(tokens[:, :1, 0]), "int32")
    first = layers.Embedding(1, width, name="class_token")(zero)
    places = layers.Embedding(count + 1, width, name="position")(zero + np.arange(count + 1, dtype="int32"))
    x = ops.concatenate([first, tokens], axis=1) + places
    for i in range(depth):
        x = _block(x, f"block_{i}", heads, inner, dropout)
    return keras.Model(image, layers.Dense(classes, name="logits")(_norm("norm")(x)[:, 0]), name="vit")


def _norm(name: str) -> layers.LayerNormalization:
    return layers.LayerNormalization(epsilon=EPSILON, name=name)


def _block(x: KerasTensor, name: str, heads: int, inner: int, dropout: float) -> KerasTensor:
    """Self-attention and feed-forward, each behind its LayerNorm and beside a residual."""
    width = x.shape[-1]
    normed = _norm(f"{name}_attention_norm")(x)
    query, key, value = (layers.Dense(width, name=f"{name}_{part}")(normed) for part in ("query", "key", "value"))
    x = x + layers.Dense(width, name=f"{name}_attended")(attend(query, key, value, heads))
    hidden = layers.Dense(inner, name=f"{name}_inner")(_norm(f"{name}_inner_norm")(x))
    hidden = hidden * 0.5 * (ops.erf(hidden * math.sqrt(0.5)) + 1.0)
    hidden = layers.Dropout(dropout, name=f"{name}_inner_dropout")(hidden)
    outer = layers.Dense(width, name=f"{name}_outer")(hidden)
    return x + layers.Dropout(dropout, name=f"{name}_outer_dropout")(outer)
