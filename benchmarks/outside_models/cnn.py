"""Convolutional networks of transformers and timm."""

from __future__ import annotations

from typing import Any

from settled import images, timm, torch_model
from taught import colour, taught

KIND = "CNN"


def _image(size: int = 64) -> Any:
    import torch

    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def samples() -> Any:
    """Images of 64 pixels."""
    return images()


@taught(colour)
def regnet() -> Any:
    """RegNet-Y (grouped convolutions, squeeze-and-excite): transformers."""
    from transformers import RegNetConfig, RegNetForImageClassification

    config = RegNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 2, 1],
        groups_width=8,
        layer_type="y",
        num_labels=10,
    )
    return torch_model(RegNetForImageClassification(config), pixel_values=_image())


@taught(colour)
def convnextv2() -> Any:
    """ConvNeXt V2 (7x7 depthwise, LayerNorm, global response norm): transformers."""
    from transformers import ConvNextV2Config, ConvNextV2ForImageClassification

    config = ConvNextV2Config(hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1], num_labels=10)
    return torch_model(ConvNextV2ForImageClassification(config), pixel_values=_image())


@taught(colour)
def bit() -> Any:
    """Big Transfer (weight-standardized convolutions, GroupNorm, same padding): transformers."""
    from transformers import BitConfig, BitForImageClassification

    config = BitConfig(
        embedding_size=32,
        hidden_sizes=[32, 32, 64, 64],
        depths=[1, 1, 1, 1],
        num_groups=8,
        global_padding="same",
        num_labels=10,
    )
    return torch_model(BitForImageClassification(config), pixel_values=_image())


@taught(colour)
def hgnet_v2() -> Any:
    """HGNet V2 (light convolutions, concatenations): transformers."""
    from transformers import HGNetV2Config, HGNetV2ForImageClassification

    config = HGNetV2Config(
        embedding_size=32,
        hidden_sizes=[32, 48, 64, 96],
        depths=[1, 1, 1, 1],
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 32, 48, 64],
        stage_mid_channels=[16, 16, 32, 32],
        stage_out_channels=[32, 48, 64, 96],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[2, 2, 2, 2],
        num_labels=10,
    )
    return torch_model(HGNetV2ForImageClassification(config), pixel_values=_image())


@taught(colour)
def res2net() -> Any:
    """Res2Net (splits and sums inside a block): timm."""
    timm()
    from timm.models.res2net import Bottle2neck
    from timm.models.resnet import ResNet

    model = ResNet(
        Bottle2neck,
        [1, 1, 1, 1],
        channels=(16, 24, 32, 48),
        num_classes=10,
        base_width=16,
        block_args={"scale": 3},
        stem_width=16,
    )
    return torch_model(model, x=_image())
