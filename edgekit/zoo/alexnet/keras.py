"""AlexNet in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(
    *, image_size: int, classes: int, stem: tuple[int, int, int], widths: Sequence[int], hidden: int, dropout: float
) -> keras.Model:
    """Build the model; ``stem`` is kernel, stride and padding of the first convolution."""
    kernel, stride, padding = stem
    image = keras.Input((image_size, image_size, 3), name="image")
    x = layers.ZeroPadding2D(padding, name="pad")(image)
    x = layers.Conv2D(widths[0], kernel, stride, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = layers.Conv2D(widths[1], 5, padding="same", activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = layers.Conv2D(widths[2], 3, padding="same", activation="relu", name="conv3")(x)
    x = layers.Conv2D(widths[3], 3, padding="same", activation="relu", name="conv4")(x)
    x = layers.Conv2D(widths[4], 3, padding="same", activation="relu", name="conv5")(x)
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(3, 2, name="pool5")(x))
    x = layers.Dense(hidden, activation="relu", name="hidden1")(layers.Dropout(dropout, name="dropout1")(x))
    x = layers.Dense(hidden, activation="relu", name="hidden2")(layers.Dropout(dropout, name="dropout2")(x))
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="alexnet")
