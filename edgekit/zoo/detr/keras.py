"""The detection transformer in Keras, on ResNet's trunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edgekit.zoo.blocks.keras import attend
from edgekit.zoo.detr.spec import positions
from edgekit.zoo.resnet.keras import features
from edgekit.zoo.resnet.spec import Kind, plan


def _attention(query: Any, key: Any, value: Any, path: str, heads: int) -> Any:
    """Projections around scaled dot-product attention."""
    width = query.shape[-1]
    parts = {"query": query, "key": key, "value": value}
    projected = {part: layers.Dense(width, name=f"{path}_{part}")(x) for part, x in parts.items()}
    return layers.Dense(width, name=f"{path}_attended")(attend(**projected, heads=heads))


def _add(x: Any, change: Any, path: str, dropout: float) -> Any:
    """Residual sum and LayerNorm."""
    summed = x + layers.Dropout(dropout, name=f"{path}_dropout")(change)
    return layers.LayerNormalization(epsilon=1e-5, name=f"{path}_norm")(summed)


def _forth(x: Any, path: str, inner: int) -> Any:
    """Two linear layers with ReLU between."""
    hidden = layers.Dense(inner, activation="relu", name=f"{path}_inner")(x)
    return layers.Dense(x.shape[-1], name=f"{path}_outer")(hidden)


def build(
    *,
    image_size: int,
    classes: int,
    kind: Kind,
    depths: Sequence[int],
    widths: Sequence[int],
    stem: int,
    stem_kernel: int,
    stem_stride: int,
    width: int,
    heads: int,
    inner: int,
    encoder: int,
    decoder: int,
    queries: int,
    dropout: float,
) -> keras.Model:
    """Build the model; ``encoder`` and ``decoder`` are numbers of layers, ``inner`` is the width of feed-forward."""
    image = keras.Input((image_size, image_size, 3), name="image")
    found = features(image, kind, plan(kind, depths, widths, stem), stem, stem_kernel, stem_stride)
    side = found.shape[1]
    memory = ops.reshape(layers.Conv2D(width, 1, name="project")(found), (-1, side * side, width))
    places = positions(side, width)
    for i in range(encoder):
        placed, path = memory + places, f"encoder_{i}"
        memory = _add(
            memory, _attention(placed, placed, memory, f"{path}_attention", heads), f"{path}_attention", dropout
        )
        memory = _add(memory, _forth(memory, f"{path}_forth", inner), f"{path}_forth", dropout)
    placed = memory + places
    # Indices come from the input, or the embedding would be no layer of this graph; converters fold them.
    zero = ops.cast(ops.zeros_like(memory[:, :1, 0]), "int32")
    asked = layers.Embedding(queries, width, name="queries")(zero + np.arange(queries, dtype="int32"))
    x = ops.zeros_like(asked)
    for i in range(decoder):
        path, query = f"decoder_{i}", x + asked
        x = _add(x, _attention(query, query, x, f"{path}_attention", heads), f"{path}_attention", dropout)
        x = _add(x, _attention(x + asked, placed, memory, f"{path}_look", heads), f"{path}_look", dropout)
        x = _add(x, _forth(x, f"{path}_forth", inner), f"{path}_forth", dropout)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    hidden = layers.Dense(width, activation="relu", name="box1")(x)
    hidden = layers.Dense(width, activation="relu", name="box2")(hidden)
    boxes, scores = layers.Dense(4, name="boxes")(hidden), layers.Dense(classes + 1, name="scores")(x)
    return keras.Model(image, [boxes, scores], name="detr")
