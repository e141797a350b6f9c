"""How a model is used: what makes its inputs."""

from __future__ import annotations

from typing import Literal

from edgekit.result.frozen import Frozen


class Preprocessing(Frozen):
    """What makes an input of an image: ``(pixel * scale - mean) / std``, pixels from 0 to 255.

    Attributes:
        input: name of the input.
        size: height and width that an image is resized to: by area averages where it shrinks, else bilinearly.
        crop: share of the shorter side that is cut out of the centre before; None: the whole image is resized.
        colour: order of the channels, or one of grey.
        layout: where the channels are.
        scale: multiplies the pixels first.
        mean: subtracted then, one number or one per channel.
        std: divides then, likewise.
    """

    input: str
    size: tuple[int, int]
    crop: float | None
    colour: Literal["rgb", "bgr", "grey"]
    layout: Literal["channels_last", "channels_first"]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
