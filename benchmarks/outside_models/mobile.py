"""Networks for phones with hard-swish and squeeze-and-excite, of transformers and timm."""

from __future__ import annotations

from typing import Any

from settled import images, timm, torch_model
from taught import colour, taught

KIND = "mobile"


def _image(size: int = 64) -> Any:
    import torch

    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def samples() -> Any:
    """Images of 64 pixels."""
    return images()


def _timm(name: str, **options: Any) -> Any:
    return torch_model(timm().create_model(name, num_classes=10, **options), x=_image())


@taught(colour, 1200)
def lcnet() -> Any:
    """PP-LCNet 0.35 (hard-swish, squeeze-and-excite): timm."""
    return _timm("lcnet_035")


@taught(colour)
def ghostnet() -> Any:
    """GhostNet 0.5 (cheap convolutions beside others, hard sigmoid): timm."""
    return _timm("ghostnet_050")


@taught(colour, 600)
def tinynet() -> Any:
    """TinyNet-E (an EfficientNet made small): timm."""
    return _timm("tinynet_e")


@taught(colour)
def mobilenet_v4() -> Any:
    """MobileNet V4 small 0.35 (universal inverted bottlenecks): timm."""
    return _timm("mobilenetv4_conv_small_035")


@taught(colour)
def efficientnet() -> Any:
    """EfficientNet with three of its stages (swish, squeeze-and-excite): transformers."""
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    config = EfficientNetConfig(
        width_coefficient=0.5,
        depth_coefficient=0.5,
        image_size=64,
        hidden_dim=640,
        kernel_sizes=[3, 5, 3],
        in_channels=[32, 16, 24],
        out_channels=[16, 24, 40],
        depthwise_padding=[],
        strides=[1, 2, 2],
        num_block_repeats=[1, 2, 2],
        expand_ratios=[1, 6, 6],
        num_labels=10,
    )
    return torch_model(EfficientNetForImageClassification(config), pixel_values=_image())
