"""Convolutional networks of keras.applications, at their own depth, with weights that have learnt something."""

from __future__ import annotations

from typing import Any

from settled import images, keras_model
from taught_keras import taught_keras

KIND = "CNN"


def samples() -> Any:
    """Images of 64 pixels, channels last."""
    return images(last=True)


def samples_xception() -> Any:
    """Images of 72 pixels."""
    return images(72, last=True)


@taught_keras
def xception() -> Any:
    """Xception (separable convolutions): keras.applications."""
    import keras

    return keras_model(keras.applications.Xception(weights=None, input_shape=(72, 72, 3), classes=10))


@taught_keras
def nasnet_mobile() -> Any:
    """NASNet-Mobile (cells of many branches): keras.applications."""
    import keras

    return keras_model(keras.applications.NASNetMobile(weights=None, input_shape=(64, 64, 3), classes=10))


@taught_keras
def efficientnet_v2() -> Any:
    """EfficientNet V2 B0 (fused blocks, squeeze-and-excite, preprocessing inside): keras.applications."""
    import keras

    image = keras.Input((64, 64, 3))
    pixels = keras.layers.Rescaling(40.0, 128.0)(image)  # what it takes goes from 0 to 255
    network = keras.applications.EfficientNetV2B0(weights=None, input_tensor=pixels, classes=10)
    return keras_model(network)
