"""Multilayer perceptron in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(*, image_size: int, hidden: Sequence[int], classes: int) -> keras.Model:
    """Build the model for grey images of ``image_size`` pixels square."""
    image = keras.Input((image_size, image_size, 1), name="image")
    x = layers.Flatten(name="flatten")(image)
    for i, width in enumerate(hidden):
        x = layers.Dense(width, activation="relu", name=f"hidden_{i}")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="mlp")
