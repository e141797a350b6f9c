"""The variational autoencoder in Keras, as it is deployed: the code is the mean."""

from __future__ import annotations

import keras
from keras import layers


def build(*, image_size: int, hidden: int, code: int) -> keras.Model:
    """Build the model for grey images; ``code`` is the number of hidden variables."""
    image = keras.Input((image_size, image_size, 1), name="image")
    coded = layers.Dense(hidden, activation="relu", name="encode")(layers.Flatten(name="flatten")(image))
    mean, log_variance = layers.Dense(code, name="mean")(coded), layers.Dense(code, name="log_variance")(coded)
    decoded = layers.Dense(hidden, activation="relu", name="decode")(mean)
    pixels = layers.Dense(image_size**2, activation="sigmoid", name="pixels")(decoded)
    return keras.Model(image, [pixels, mean, log_variance], name="vae")
