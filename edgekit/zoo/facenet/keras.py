"""FaceNet in Keras, on Inception's trunk."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from edgekit.zoo.inception.keras import chain
from edgekit.zoo.inception.spec import Layer

#: Added to the square of a length, which is divided by.
TINY = 1e-12


def build(*, image_size: int, table: Sequence[Layer], code: int) -> keras.Model:
    """Build the model on a trunk like ``inception.spec.GOOGLENET``; ``code`` is the length of an embedding."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = layers.GlobalAveragePooling2D(name="average")(chain(image, "layers", table))
    x = layers.Dense(code, use_bias=False, name="embed")(x)
    length = ops.rsqrt(ops.sum(ops.square(x), axis=1, keepdims=True) + TINY)
    return keras.Model(image, layers.Multiply(name="embedding")([x, length]), name="facenet")
