"""The single shot detector in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers, ops

from edgekit.zoo.ssd.spec import Extra

#: Added to the square of a length, which is divided by.
TINY = 1e-10


def build(
    *,
    image_size: int,
    classes: int,
    stages: Sequence[Sequence[int]],
    source: int,
    wide: int,
    dilation: int,
    extras: Sequence[Extra],
    anchors: Sequence[int],
) -> keras.Model:
    """Build the model; ``source`` is the first stage that is looked at, ``anchors`` the boxes per place of each map."""
    x = image = keras.Input((image_size, image_size, 3), name="image")
    maps = []
    for i, widths in enumerate(stages):
        for j, width in enumerate(widths):
            x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"stages_{i}_{j}")(x)
        if i == source:
            length = ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + TINY)
            maps.append(layers.DepthwiseConv2D(1, use_bias=False, name="scale")(x * length))
        size, stride = (3, 1) if i == len(stages) - 1 else (2, 2)
        x = layers.MaxPooling2D(size, stride, padding="same", name=f"pool_{i}")(x)
    x = layers.Conv2D(wide, 3, padding="same", dilation_rate=dilation, activation="relu", name="wide1")(x)
    x = layers.Conv2D(wide, 1, activation="relu", name="wide2")(x)
    maps.append(x)
    for i, extra in enumerate(extras):
        x = layers.Conv2D(extra.narrow, 1, activation="relu", name=f"narrow_{i}")(x)
        x = layers.ZeroPadding2D(1, name=f"extras_{i}_pad")(x) if extra.stride == 2 else x
        x = layers.Conv2D(extra.outputs, 3, extra.stride, activation="relu", name=f"extras_{i}")(x)
        maps.append(x)

    def rows(name: str, width: int) -> keras.KerasTensor:
        found = []
        for i, (x, count) in enumerate(zip(maps, anchors, strict=True)):
            head = layers.Conv2D(width * count, 3, padding="same", name=f"{name}_{i}")(x)
            found.append(layers.Reshape((-1, width), name=f"{name}_{i}_rows")(head))
        return layers.Concatenate(axis=1, name=name)(found)

    return keras.Model(image, [rows("boxes", 4), rows("scores", classes + 1)], name="ssd")
