"""LeNet-5 in Keras; layers are named as in the paper."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(*, widths: Sequence[int], classes: int) -> keras.Model:
    """Build the model; ``widths`` are the maps of C1, C3, C5 and the units of F6."""
    c1, c3, c5, f6 = widths
    image = keras.Input((32, 32, 1), name="image")
    x = layers.Conv2D(c1, 5, activation="tanh", name="c1")(image)
    x = layers.AveragePooling2D(2, 2, name="s2")(x)
    x = layers.Conv2D(c3, 5, activation="tanh", name="c3")(x)
    x = layers.AveragePooling2D(2, 2, name="s4")(x)
    x = layers.Conv2D(c5, 5, activation="tanh", name="c5")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(f6, activation="tanh", name="f6")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="lenet5")
