"""MobileNetV3 in Keras. SAME padding with stride 2 is what the original writes out as explicit padding."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from edgekit.zoo.blocks.keras import conv_norm, inverted_residual
from edgekit.zoo.mobilenet_v3.spec import Row, plan

EPSILON = 1e-3


def build(*, image_size: int, classes: int, stem: int, rows: Sequence[Row], last: int, point: int) -> keras.Model:
    """Build the model; ``rows`` is a table like ``spec.SMALL``."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = conv_norm(image, "stem", stem, 3, 2, padding="same", epsilon=EPSILON, activation="hard_swish")
    for i, block in enumerate(plan(stem, rows)):
        x = inverted_residual(x, f"blocks_{i}", block, epsilon=EPSILON)
    x = conv_norm(x, "last", last, 1, epsilon=EPSILON, activation="hard_swish")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(point, activation="hard_swish", name="point")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="mobilenet_v3")
