"""MobileNetV2 in Keras. SAME padding with stride 2 is what the original writes as an explicit ((0, 1), (0, 1))."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from edgekit.zoo.blocks.keras import conv_norm, inverted_residual
from edgekit.zoo.mobilenet_v2.spec import Stage, plan

EPSILON = 1e-3


def build(*, image_size: int, classes: int, alpha: float, stages: Sequence[Stage], head: int) -> keras.Model:
    """Build the model; ``stages`` is a table like ``spec.STAGES``."""
    made = plan(alpha, stages, head)
    image = keras.Input((image_size, image_size, 3), name="image")
    x = conv_norm(image, "stem", made.stem, 3, 2, padding="same", epsilon=EPSILON, activation="relu6")
    for i, block in enumerate(made.blocks):
        x = inverted_residual(x, f"blocks_{i}", block, epsilon=EPSILON)
    x = conv_norm(x, "head", made.head, 1, epsilon=EPSILON, activation="relu6")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="mobilenet_v2")
