"""Faster R-CNN with a mask head in Keras: its three parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from edgekit.zoo.resnet.keras import maps as trunk
from edgekit.zoo.resnet.spec import Kind, plan


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
    width: int,
    anchors: int,
    box_size: int,
    inner: int,
    mask_size: int,
    mask_depth: int,
) -> dict[str, keras.Model]:
    """Build the parts; ``width`` channels of the pyramid, ``anchors`` per place, ``inner`` of the box head.

    ``box_size`` and ``mask_size`` are bins along a side of what the heads read, ``mask_depth`` convolutions.
    """
    image = keras.Input((image_size, image_size, 3), name="image")
    found = trunk(image, kind, plan(kind, depths, widths, stem), stem, stem_kernel, stem_stride, "proposals_")
    proposals = keras.Model(image, _proposals(found, width, anchors), name="proposals")
    box_head = _box_head(keras.Input((box_size, box_size, width), name="region"), inner, classes)
    mask_head = _mask_head(keras.Input((mask_size, mask_size, width), name="region"), mask_depth, classes)
    return {"proposals": proposals, "box_head": box_head, "mask_head": mask_head}


def _proposals(found: Sequence[Any], width: int, anchors: int) -> list[Any]:
    """Objectness, offsets and the maps that regions are read from: a pyramid, and the proposal network on each map."""
    path = "proposals"
    summed = [layers.Conv2D(width, 1, name=f"{path}_lateral_{i}")(x) for i, x in enumerate(found)]
    for i in reversed(range(len(summed) - 1)):
        coarse = layers.UpSampling2D(2, interpolation="nearest", name=f"{path}_up_{i}")(summed[i + 1])
        summed[i] = layers.Add(name=f"{path}_add_{i}")([summed[i], coarse])
    maps = [layers.Conv2D(width, 3, padding="same", name=f"{path}_smooth_{i}")(x) for i, x in enumerate(summed)]
    hidden = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"{path}_hidden")
    looked = [hidden(x) for x in (*maps, layers.MaxPooling2D(1, 2, name=f"{path}_pool")(maps[-1]))]

    def rows(name: str, each: int) -> Any:
        head = layers.Conv2D(each * anchors, 1, name=f"{path}_{name}")
        said = [layers.Reshape((-1, each), name=f"{path}_{name}_{i}")(head(x)) for i, x in enumerate(looked)]
        return layers.Concatenate(axis=1, name=name)(said)

    return [rows("objectness", 1), rows("offsets", 4), *maps]


def _box_head(region: Any, inner: int, classes: int) -> keras.Model:
    path = "box_head"
    x = layers.Flatten(name=f"{path}_flat")(region)
    x = layers.Dense(inner, activation="relu", name=f"{path}_inner1")(x)
    x = layers.Dense(inner, activation="relu", name=f"{path}_inner2")(x)
    scores = layers.Dense(classes + 1, name=f"{path}_scores")(x)
    offsets = layers.Dense(4 * classes, name=f"{path}_offsets")(x)
    return keras.Model(region, [scores, layers.Reshape((classes, 4), name="offsets")(offsets)], name=path)


def _mask_head(region: Any, depth: int, classes: int) -> keras.Model:
    path, x = "mask_head", region
    for i in range(depth):
        x = layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu", name=f"{path}_convs_{i}")(x)
    x = layers.Conv2DTranspose(x.shape[-1], 2, 2, activation="relu", name=f"{path}_up")(x)
    return keras.Model(region, layers.Conv2D(classes, 1, name=f"{path}_masks")(x), name=path)
