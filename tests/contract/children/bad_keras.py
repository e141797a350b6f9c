"""A user's own Keras model with an operator that no edge runtime has."""

import keras


def spectrum():
    x = inputs = keras.Input((8, 8, 3), name="x")
    x = keras.layers.Conv2D(6, 3, name="features")(x)
    values = keras.ops.svd(x, compute_uv=False)
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(keras.layers.Flatten()(values)))
