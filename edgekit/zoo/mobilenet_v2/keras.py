"""MobileNetV2 in Keras. SAME padding with stride 2 is what the original writes as an explicit ((0, 1), (0, 1))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from edgekit.zoo.mobilenet_v2.spec import Block, Stage, plan


def _norm(x: Any, path: str, *, relu6: bool = True) -> Any:
    # Keras keeps 90 % of the old statistics where PyTorch keeps 1 - 0.1: the same number.
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.9, name=f"{path}_norm")(x)
    return layers.ReLU(6.0, name=f"{path}_relu6")(x) if relu6 else x


def _conv(x: Any, path: str, outputs: int, kernel: int, stride: int = 1, *, relu6: bool = True) -> Any:
    x = layers.Conv2D(outputs, kernel, stride, padding="same", use_bias=False, name=f"{path}_conv")(x)
    return _norm(x, path, relu6=relu6)


def _block(x: Any, path: str, block: Block) -> Any:
    wide = _conv(x, f"{path}_expand", block.expanded, 1) if block.expanded != block.inputs else x
    wide = layers.DepthwiseConv2D(3, block.stride, padding="same", use_bias=False, name=f"{path}_depthwise_conv")(wide)
    out = _conv(_norm(wide, f"{path}_depthwise"), f"{path}_project", block.outputs, 1, relu6=False)
    return layers.Add(name=f"{path}_add")([x, out]) if block.residual else out


def build(*, image_size: int, classes: int, alpha: float, stages: Sequence[Stage], head: int) -> keras.Model:
    """Build the model; ``stages`` is a table like ``spec.STAGES``."""
    made = plan(alpha, stages, head)
    image = keras.Input((image_size, image_size, 3), name="image")
    x = _conv(image, "stem", made.stem, 3, 2)
    for i, block in enumerate(made.blocks):
        x = _block(x, f"blocks_{i}", block)
    x = _conv(x, "head", made.head, 1)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="mobilenet_v2")
