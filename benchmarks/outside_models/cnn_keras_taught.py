"""A convolutional network of keras.applications at its own depth, with weights that have learnt something."""

from __future__ import annotations

from typing import Any

from settled import images, keras_model
from taught_keras import taught_keras

KIND = "CNN"


def samples() -> Any:
    """Images of 64 pixels, channels last."""
    return images(last=True)


@taught_keras
def densenet() -> Any:
    """DenseNet-121 (concatenations): keras.applications."""
    import keras

    return keras_model(keras.applications.DenseNet121(weights=None, input_shape=(64, 64, 3), classes=10))
