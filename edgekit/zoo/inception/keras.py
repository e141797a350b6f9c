"""The Inception networks in Keras, from their tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from edgekit.zoo.blocks.keras import conv_norm
from edgekit.zoo.inception.spec import Conv, Layer, Mixed, Pool

EPSILON = 1e-3


def _branches(x: Any, path: str, mixed: Mixed) -> Any:
    found = [chain(x, f"{path}_branches_{i}", branch) for i, branch in enumerate(mixed.branches)]
    return layers.Concatenate(name=f"{path}_concat")(found)


def _pool(x: Any, path: str, facts: Pool) -> Any:
    """3x3 pooling; an average counts no zeros."""
    kind = layers.AveragePooling2D if facts.kind == "average" else layers.MaxPooling2D
    return kind(3, facts.stride, padding=facts.padding, name=f"{path}_pool")(x)


def chain(x: Any, path: str, table: Sequence[Layer]) -> Any:
    """Layers one behind the other."""
    for i, facts in enumerate(table):
        here = f"{path}_{i}"
        if isinstance(facts, Conv):
            x = conv_norm(
                x, here, facts.outputs, facts.kernel, facts.stride,
                padding=facts.padding, epsilon=EPSILON, activation="relu",
            )  # fmt: skip
        elif isinstance(facts, Mixed):
            x = _branches(x, here, facts)
        else:
            x = _pool(x, here, facts)
    return x


def build(*, image_size: int, classes: int, table: Sequence[Layer], dropout: float) -> keras.Model:
    """Build the model of a table like ``spec.GOOGLENET``."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="average")(chain(image, "layers", table))
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="inception")
