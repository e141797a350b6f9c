"""Windowed attention, and attention beside convolutions, of transformers and timm."""

from __future__ import annotations

from typing import Any

from settled import images, timm, torch_model
from taught import colour, taught

KIND = "windowed or hybrid vision"


def _image(size: int = 64) -> Any:
    import torch

    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def samples() -> Any:
    """Images of 64 pixels."""
    return images()


@taught(colour)
def swin() -> Any:
    """Swin (shifted windows): transformers."""
    from transformers import SwinConfig, SwinForImageClassification

    config = SwinConfig(
        image_size=64, patch_size=4, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=10
    )
    return torch_model(SwinForImageClassification(config), pixel_values=_image())


@taught(colour)
def swinv2() -> Any:
    """Swin V2 (cosine attention, continuous positions): transformers."""
    from transformers import Swinv2Config, Swinv2ForImageClassification

    config = Swinv2Config(
        image_size=64, patch_size=4, embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=4, num_labels=10
    )
    return torch_model(Swinv2ForImageClassification(config), pixel_values=_image())


@taught(colour)
def mobilevit() -> Any:
    """MobileViT: transformers."""
    from transformers import MobileViTConfig, MobileViTForImageClassification

    config = MobileViTConfig(
        image_size=64, hidden_sizes=[24, 32, 40], neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64], num_labels=10
    )
    return torch_model(MobileViTForImageClassification(config), pixel_values=_image())


@taught(colour, 600)
def pvt_v2() -> Any:
    """PVT V2 (attention over fewer keys): transformers."""
    from transformers import PvtV2Config, PvtV2ForImageClassification

    config = PvtV2Config(
        image_size=64,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        mlp_ratios=[2, 2, 2, 2],
        num_labels=10,
    )
    return torch_model(PvtV2ForImageClassification(config), pixel_values=_image())


@taught(colour, 900)
def levit() -> Any:
    """LeViT (attention with BatchNorm and hard-swish): transformers."""
    from transformers import LevitConfig, LevitForImageClassification

    config = LevitConfig(
        image_size=64,
        hidden_sizes=[32, 48, 64],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
        mlp_ratio=[2, 2, 2],
        attention_ratio=[2, 2, 2],
        num_labels=10,
    )
    return torch_model(LevitForImageClassification(config), pixel_values=_image())


@taught(colour)
def tiny_vit() -> Any:
    """TinyViT (MBConv, then windows): timm."""
    timm()
    from timm.models.tiny_vit import TinyVit

    model = TinyVit(
        embed_dims=(16, 32, 48, 64),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 3, 4),
        window_sizes=(4, 4, 4, 2),
        num_classes=10,
    )
    return torch_model(model, x=_image())


@taught(colour)
def fastvit() -> Any:
    """FastViT (token mixing by convolutions): timm."""
    timm()
    from timm.models.fastvit import FastVit

    mixers = ("repmixer", "repmixer", "repmixer", "attention")
    model = FastVit(
        layers=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128), mlp_ratios=(2, 2, 2, 2), token_mixers=mixers, num_classes=10
    )
    return torch_model(model, x=_image())
