"""FCN in Keras, on ResNet's trunk."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from edgekit.zoo.blocks.keras import conv_norm
from edgekit.zoo.resnet.keras import features
from edgekit.zoo.resnet.spec import Kind, plan

#: Stages that are dilated where ResNet halves the map.
DILATED = 2


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
    dropout: float,
) -> keras.Model:
    """Build the model; ``depths`` and ``widths`` (output channels) have one number per stage."""
    image = keras.Input((image_size, image_size, 3), name="image")
    blocks = plan(kind, depths, widths, stem, dilated=DILATED)
    x = features(image, kind, blocks, stem, stem_kernel, stem_stride)
    x = conv_norm(x, "head", blocks[-1].outputs // 4, 3, activation="relu")
    x = layers.Conv2D(classes, 1, name="classes")(layers.Dropout(dropout, name="dropout")(x))
    logits = layers.UpSampling2D(image_size // x.shape[1], interpolation="bilinear", name="logits")(x)
    return keras.Model(image, logits, name="fcn")
