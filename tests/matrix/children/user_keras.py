"""A user's own file: the network of ``user_torch.py`` in Keras, with the same weights."""

from pathlib import Path

import keras
import numpy as np


def build(k):
    """Build it with Keras 3 or with tf_keras."""
    layers = k.layers
    x = inputs = k.Input((8, 8, 3), name="x")
    x = layers.Conv2D(12, 3, use_bias=False, name="conv")(x)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name="norm1")(x))
    x = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name="norm2")(x))
    x = layers.Conv2D(32, 4, activation="relu", name="mix")(x)
    made = k.Model(inputs, layers.Dense(10, name="logits")(layers.Flatten()(x)))
    with np.load(Path(__file__).parent / "weights.npz") as stored:
        w = {name: stored[name] for name in stored.files}
    for name in ("conv", "mix"):
        w[f"{name}.weight"] = w[f"{name}.weight"].transpose(2, 3, 1, 0)
    w["depthwise.weight"] = w["depthwise.weight"].transpose(2, 3, 0, 1)
    w["logits.weight"] = w["logits.weight"].T
    for name in ("conv", "depthwise"):
        made.get_layer(name).set_weights([w[f"{name}.weight"]])
    for name in ("mix", "logits"):
        made.get_layer(name).set_weights([w[f"{name}.weight"], w[f"{name}.bias"]])
    for name in ("norm1", "norm2"):
        statistics = [w[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        made.get_layer(name).set_weights(statistics)
    return made


def model():
    return build(keras)
