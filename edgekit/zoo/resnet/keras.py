"""ResNet v1.5 in Keras. Strides of 2 pad explicitly: TensorFlow's SAME would pad one side only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from edgekit.zoo.resnet.spec import Block, Kind, plan


def _norm(x: Any, path: str) -> Any:
    # Keras keeps 90 % of the old statistics where PyTorch keeps 1 - 0.1: the same number.
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=path)(x)


def _relu(x: Any, path: str) -> Any:
    return layers.ReLU(name=f"{path}_relu")(x)


def _conv(x: Any, path: str, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> Any:
    if stride == 1 or kernel == 1:
        return layers.Conv2D(
            outputs, kernel, stride, padding="same", dilation_rate=dilation, use_bias=False, name=path
        )(x)
    x = layers.ZeroPadding2D(kernel // 2, name=f"{path}_pad")(x)
    return layers.Conv2D(outputs, kernel, stride, use_bias=False, name=path)(x)


def _block(x: Any, kind: Kind, block: Block, path: str) -> Any:
    # kernel, stride and outputs of each convolution
    steps = (
        [(1, 1, block.inner), (3, block.stride, block.inner), (1, 1, block.outputs)]
        if kind == "bottleneck"
        else [(3, block.stride, block.inner), (3, 1, block.outputs)]
    )
    out = x
    for i, (kernel, stride, outputs) in enumerate(steps, 1):
        dilation = block.dilation if kernel == 3 else 1
        out = _norm(_conv(out, f"{path}_conv{i}", outputs, kernel, stride, dilation), f"{path}_bn{i}")
        if i < len(steps):
            out = _relu(out, f"{path}_bn{i}")
    if block.projects:
        x = _norm(_conv(x, f"{path}_downsample_0", block.outputs, 1, block.stride), f"{path}_downsample_1")
    return _relu(layers.Add(name=f"{path}_add")([out, x]), path)


def maps(
    image: Any, kind: Kind, blocks: Sequence[Block], stem: int, stem_kernel: int, stem_stride: int, path: str = ""
) -> list[Any]:
    """The map behind each stage; ``path`` is that of the trunk, with ``_`` behind it."""
    x = _conv(image, f"{path}conv1", stem, stem_kernel, stem_stride)
    x = _relu(_norm(x, f"{path}bn1"), f"{path}bn1")
    # Zeros are as good as the minus infinity that PyTorch pads: nothing is negative after ReLU.
    x = layers.MaxPooling2D(3, 2, name=f"{path}maxpool")(layers.ZeroPadding2D(1, name=f"{path}maxpool_pad")(x))
    found: dict[int, Any] = {}
    for block in blocks:
        found[block.stage] = x = _block(x, kind, block, f"{path}stages_{block.stage}_{block.index}")
    return list(found.values())


def features(image: Any, kind: Kind, blocks: Sequence[Block], stem: int, stem_kernel: int, stem_stride: int) -> Any:
    """The last stage's map."""
    return maps(image, kind, blocks, stem, stem_kernel, stem_stride)[-1]


def build(
    *,
    image_size: int,
    classes: int,
    kind: Kind,
    depths: Sequence[int],
    widths: Sequence[int],
    stem: int,
    stem_kernel: int,
    stem_stride: int,
) -> keras.Model:
    """Build the model; ``depths`` and ``widths`` (output channels) have one number per stage."""
    image = keras.Input((image_size, image_size, 3), name="image")
    x = features(image, kind, plan(kind, depths, widths, stem), stem, stem_kernel, stem_stride)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(image, layers.Dense(classes, name="logits")(x), name="resnet")
