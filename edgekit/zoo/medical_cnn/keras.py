"""A classifier with class activation maps in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from edgekit.zoo.blocks.keras import conv_norm


def build(*, image_size: int, channels: int, classes: int, widths: Sequence[int]) -> keras.Model:
    """Build the model; ``widths`` has the channels of each stage."""
    x = image = keras.Input((image_size, image_size, channels), name="image")
    for i, width in enumerate(widths):
        if i:
            x = layers.MaxPooling2D(2, 2, name=f"pool_{i}")(x)
        for j in range(2):
            x = conv_norm(x, f"stages_{i}_{j}", width, 3, activation="relu")
    found = layers.Conv2D(classes, 1, name="map")(x)
    logits = layers.GlobalAveragePooling2D(name="logits")(found)
    return keras.Model(image, [logits, found], name="medical_cnn")
