"""Feed-forward style transfer in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops


def _conv(x: Any, path: str, outputs: int, kernel: int, stride: int = 1) -> Any:
    edge = (kernel // 2, kernel // 2)
    x = ops.pad(x, ((0, 0), edge, edge, (0, 0)), mode="reflect")
    return layers.Conv2D(outputs, kernel, stride, name=path)(x)


def _conv_norm(x: Any, path: str, outputs: int, kernel: int, stride: int = 1) -> Any:
    x = _conv(x, f"{path}_conv", outputs, kernel, stride)
    # Groups of one channel: instance norm.
    return layers.GroupNormalization(-1, epsilon=1e-5, name=f"{path}_norm")(x)


def _residual(x: Any, path: str) -> Any:
    out = layers.ReLU(name=f"{path}_relu")(_conv_norm(x, f"{path}_first", x.shape[-1], 3))
    return layers.Add(name=f"{path}_add")([x, _conv_norm(out, f"{path}_second", x.shape[-1], 3)])


def build(*, image_size: int, widths: Sequence[int], residuals: int, kernel: int) -> keras.Model:
    """Build the model; ``widths`` are the channels from full size to the bottom, ``kernel`` that of both ends."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = layers.ReLU(name="first_relu")(_conv_norm(image, "first", widths[0], kernel))
    for i, width in enumerate(widths[1:]):
        x = layers.ReLU(name=f"down_{i}_relu")(_conv_norm(x, f"down_{i}", width, 3, 2))
    for i in range(residuals):
        x = _residual(x, f"residual_{i}")
    for i, width in enumerate(widths[-2::-1]):
        x = layers.UpSampling2D(2, name=f"enlarge_{i}")(x)
        x = layers.ReLU(name=f"up_{i}_relu")(_conv_norm(x, f"up_{i}", width, 3))
    x = _conv(x, "last", 3, kernel)
    return keras.Model(image, layers.Activation("tanh", name="stylized")(x), name="style_transfer")
