"""The siamese network in Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops


def build(*, image_size: int, convs: Sequence[tuple[int, int]], code: int) -> keras.Model:
    """Build the model; ``convs`` has outputs and kernel of each convolution."""
    shared = [layers.Conv2D(outputs, kernel, name=f"convs_{i}") for i, (outputs, kernel) in enumerate(convs)]
    coded = layers.Dense(code, activation="sigmoid", name="embed")

    def tower(x: Any, which: str) -> Any:
        for i, conv in enumerate(shared):
            x = layers.ReLU(name=f"{which}_relu_{i}")(conv(x))
            if i < len(shared) - 1:
                x = layers.MaxPooling2D(2, 2, name=f"{which}_pool_{i}")(x)
        return coded(layers.Flatten(name=f"{which}_flatten")(x))

    first, second = (keras.Input((image_size, image_size, 1), name=name) for name in ("first", "second"))
    apart = ops.abs(tower(first, "first") - tower(second, "second"))
    return keras.Model([first, second], layers.Dense(1, name="logit")(apart), name="siamese")
