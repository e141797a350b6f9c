"""DenseNet in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from edgekit.zoo.blocks.keras import activate, norm, padded


def _norm_conv(x: Any, path: str, outputs: int, kernel: int) -> Any:
    x = norm(x, path, "relu")
    return layers.Conv2D(outputs, kernel, padding="same", use_bias=False, name=f"{path}_conv")(x)


def _dense(x: Any, path: str, growth: int, bottleneck: int) -> Any:
    grown = _norm_conv(_norm_conv(x, f"{path}_narrow", bottleneck, 1), f"{path}_grow", growth, 3)
    return layers.Concatenate(name=f"{path}_concat")([x, grown])


def build(
    *,
    image_size: int,
    classes: int,
    stem: tuple[int, int, int],
    stem_pool: bool,
    growth: int,
    bottleneck: int,
    depths: Sequence[int],
) -> keras.Model:
    """Build the model; ``stem`` is width, kernel and stride of the first convolution."""
    width, kernel, stride = stem
    image = keras.Input((image_size, image_size, 3), name="image")
    x, padding = padded(image, "stem", (kernel, kernel), stride, "symmetric")
    x = layers.Conv2D(width, kernel, stride, padding=padding, use_bias=False, name="stem")(x)
    if stem_pool:
        # Zeros do not count in a maximum behind ReLU.
        x = layers.ZeroPadding2D(1, name="pool_pad")(norm(x, "stem", "relu"))
        x = layers.MaxPooling2D(3, 2, name="pool")(x)
    for i, depth in enumerate(depths):
        for j in range(depth):
            x = _dense(x, f"blocks_{i}_{j}", growth, bottleneck)
        if i < len(depths) - 1:
            x = _norm_conv(x, f"transitions_{i}", x.shape[-1] // 2, 1)
            x = layers.AveragePooling2D(2, 2, name=f"transitions_{i}_pool")(x)
    x = activate(layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name="norm")(x), "norm", "relu")
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="densenet")
