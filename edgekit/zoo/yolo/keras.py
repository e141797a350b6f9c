"""Tiny YOLOv2 in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers


def build(*, image_size: int, classes: int, anchors: int, widths: Sequence[int], last_pool: bool) -> keras.Model:
    """Build the model; ``anchors`` is how many boxes each cell of the grid predicts."""
    x = image = keras.Input((image_size, image_size, 3), name="image")
    for i, width in enumerate(widths):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"convs_{i}")(x)
        # Keras keeps 90 % of the old statistics where PyTorch keeps 1 - 0.1: the same number.
        x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"norms_{i}")(x)
        x = layers.LeakyReLU(negative_slope=0.1, name=f"leaky_{i}")(x)
        if i < len(widths) - 2:
            last = last_pool and i == len(widths) - 3
            x = layers.MaxPooling2D(2, 1 if last else 2, padding="same" if last else "valid", name=f"pool_{i}")(x)
    boxes = layers.Conv2D(anchors * 4, 1, name="box_head")(x)
    scores = layers.Conv2D(anchors * (1 + classes), 1, name="score_head")(x)
    return keras.Model(
        image,
        [layers.Reshape((-1, 4), name="boxes")(boxes), layers.Reshape((-1, 1 + classes), name="scores")(scores)],
        name="yolo",
    )
