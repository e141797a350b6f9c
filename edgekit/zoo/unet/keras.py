"""U-Net in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


def _double(x: Any, path: str, outputs: int) -> Any:
    for i in (1, 2):
        x = layers.Conv2D(outputs, 3, padding="same", use_bias=False, name=f"{path}_conv{i}")(x)
        # Keras keeps 90 % of the old statistics where PyTorch keeps 1 - 0.1: the same number.
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{path}_norm{i}")(x)
        x = layers.ReLU(name=f"{path}_relu{i}")(x)
    return x


def build(*, image_size: int, channels: int, classes: int, widths: Sequence[int]) -> keras.Model:
    """Build the model; ``widths`` are the channels of the levels, from full size to the bottom."""
    image = keras.Input((image_size, image_size, channels), name="image")
    skips = [_double(image, "down_0", widths[0])]
    for i, width in enumerate(widths[1:], 1):
        x = layers.MaxPooling2D(2, 2, name=f"pool_{i}")(skips[-1])
        skips.append(_double(x, f"down_{i}", width))
    x = skips.pop()
    for i in reversed(range(len(widths) - 1)):
        x = layers.Conv2DTranspose(widths[i], 2, 2, name=f"up_{i}")(x)
        x = layers.Concatenate(name=f"concat_{i}")([skips.pop(), x])
        x = _double(x, f"merge_{i}", widths[i])
    return keras.Model(image, layers.Conv2D(classes, 1, name="logits")(x), name="unet")
