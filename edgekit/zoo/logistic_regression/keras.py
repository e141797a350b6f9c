"""Logistic regression in Keras."""

from __future__ import annotations

import keras
from keras import layers


def build(*, features: int) -> keras.Model:
    """Build the model for so many columns."""
    given = keras.Input((features,), name="features")
    return keras.Model(given, layers.Dense(1, name="logit")(given), name="logistic_regression")
