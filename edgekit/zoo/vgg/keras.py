"""VGG in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(
    *, image_size: int, classes: int, stages: Sequence[Sequence[int]], hidden: int, dropout: float
) -> keras.Model:
    """Build the model; ``stages`` is a table like ``spec.VGG16``."""
    x = image = keras.Input((image_size, image_size, 3), name="image")
    for i, widths in enumerate(stages):
        for j, width in enumerate(widths):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"stages_{i}_{j}")(x)
        x = layers.MaxPooling2D(2, 2, name=f"pool_{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(dropout, name="dropout1")(layers.Dense(hidden, activation="relu", name="hidden1")(x))
    x = layers.Dropout(dropout, name="dropout2")(layers.Dense(hidden, activation="relu", name="hidden2")(x))
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="vgg")
