"""Objects in generated street scenes, as DETR's queries say them: boxes of the image's size, logits with no object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.data import detection, street
from edgekit.data.tasks import Samples, Split, street_objects

TASK = replace(street_objects.TASK, title=f"{street_objects.TASK.title}, found by queries")


def make(split: Split, count: int | None = None) -> Samples:
    """The images and labels of the task ``street_objects``."""
    return street_objects.make(split, count)


def postprocess(outputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Raw ``boxes`` (logits of centre and size) and ``scores`` (no object last) to corners in pixels and chances."""
    boxes = detection.sigmoid(outputs["boxes"].astype(np.float64)) * street.SIZE
    half = boxes[..., 2:] / 2
    return {
        "boxes": np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1),
        "scores": detection.softmax(outputs["scores"])[..., :-1],
    }
