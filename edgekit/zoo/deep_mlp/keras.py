"""Deep multilayer perceptron in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from edgekit.zoo.blocks.keras import norm


def build(*, features: int, hidden: Sequence[int], classes: int, dropout: float) -> keras.Model:
    """Build the model for so many columns; ``dropout`` is the share that is dropped."""
    x = given = keras.Input((features,), name="features")
    for i, width in enumerate(hidden):
        x = layers.Dense(width, use_bias=False, name=f"hidden_{i}_linear")(x)
        x = norm(x, f"hidden_{i}", "relu")
        x = layers.Dropout(dropout, name=f"hidden_{i}_dropout")(x)
    return keras.Model(given, layers.Dense(classes, name="logits")(x), name="deep_mlp")
