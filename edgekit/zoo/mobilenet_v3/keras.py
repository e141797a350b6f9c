"""MobileNetV3 in Keras. SAME padding with stride 2 is what the original writes out as explicit padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from edgekit.zoo.mobilenet_v3.spec import Block, Row, plan


def _norm(x: Any, path: str, activation: str | None) -> Any:
    # Keras keeps 90 % of the old statistics where PyTorch keeps 1 - 0.1: the same number.
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name=f"{path}_norm")(x)
    return layers.Activation(activation, name=f"{path}_{activation}")(x) if activation else x


def _conv(x: Any, path: str, outputs: int, kernel: int, stride: int = 1, *, activation: str | None) -> Any:
    x = layers.Conv2D(outputs, kernel, stride, padding="same", use_bias=False, name=f"{path}_conv")(x)
    return _norm(x, path, activation)


def _squeeze(x: Any, path: str, block: Block) -> Any:
    weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{path}_pool")(x)
    weight = layers.Conv2D(block.squeezed, 1, activation="relu", name=f"{path}_fc1")(weight)
    weight = layers.Conv2D(block.expanded, 1, activation="hard_sigmoid", name=f"{path}_fc2")(weight)
    return layers.Multiply(name=f"{path}_multiply")([x, weight])


def _block(x: Any, path: str, block: Block) -> Any:
    activation = "hard_swish" if block.swish else "relu"
    wide = x
    if block.expanded != block.inputs:
        wide = _conv(x, f"{path}_expand", block.expanded, 1, activation=activation)
    wide = layers.DepthwiseConv2D(
        block.kernel, block.stride, padding="same", use_bias=False, name=f"{path}_depthwise_conv"
    )(wide)
    wide = _norm(wide, f"{path}_depthwise", activation)
    if block.squeezed:
        wide = _squeeze(wide, f"{path}_squeeze", block)
    out = _conv(wide, f"{path}_project", block.outputs, 1, activation=None)
    return layers.Add(name=f"{path}_add")([x, out]) if block.residual else out


def build(*, image_size: int, classes: int, stem: int, rows: Sequence[Row], last: int, point: int) -> keras.Model:
    """Build the model; ``rows`` is a table like ``spec.SMALL``."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = _conv(image, "stem", stem, 3, 2, activation="hard_swish")
    for i, block in enumerate(plan(stem, rows)):
        x = _block(x, f"blocks_{i}", block)
    x = _conv(x, "last", last, 1, activation="hard_swish")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(point, activation="hard_swish", name="point")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="mobilenet_v3")
