"""EfficientNet in Keras. SAME padding with stride 2 is what PyTorch has to write out."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from edgekit.zoo.blocks.keras import conv_norm, inverted_residual
from edgekit.zoo.efficientnet.spec import Stage, plan

EPSILON = 1e-3


def build(
    *, image_size: int, classes: int, stem: int, stages: Sequence[Stage], head: int, dropout: float
) -> keras.Model:
    """Build the model; ``stages`` is a table like ``spec.B0``."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = conv_norm(image, "stem", stem, 3, 2, padding="same", epsilon=EPSILON, activation="silu")
    for i, block in enumerate(plan(stem, stages)):
        x = inverted_residual(x, f"blocks_{i}", block, epsilon=EPSILON)
    x = conv_norm(x, "head", head, 1, epsilon=EPSILON, activation="silu")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="efficientnet")
