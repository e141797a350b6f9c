"""Segmentation networks of transformers."""

from __future__ import annotations

from typing import Any

from settled import torch_model
from taught import brightness, mask, scenes, taught

KIND = "segmentation"


def _image(size: int = 64) -> Any:
    import torch

    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def samples() -> Any:
    """Scenes of 64 pixels."""
    return scenes()


@taught(mask)
def segformer() -> Any:
    """SegFormer: transformers."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 3], mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=32, num_labels=5,
    )  # fmt: skip
    return torch_model(SegformerForSemanticSegmentation(config), pixel_values=_image())


@taught(mask)
def upernet() -> Any:
    """UPerNet on a ConvNeXt (pyramid pooling): transformers."""
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    backbone = ConvNextConfig(
        hidden_sizes=[16, 24, 32, 48], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = UperNetConfig(
        backbone_config=backbone, hidden_size=32, pool_scales=[1, 2], use_auxiliary_head=False, num_labels=5
    )
    return torch_model(UperNetForSemanticSegmentation(config), pixel_values=_image())


@taught(mask)
def mobilevit_deeplab() -> Any:
    """MobileViT with DeepLab V3's head (dilated convolutions): transformers."""
    from transformers import MobileViTConfig, MobileViTForSemanticSegmentation

    config = MobileViTConfig(
        image_size=64, hidden_sizes=[24, 32, 40], neck_hidden_sizes=[8, 16, 24, 32, 40, 48, 64], aspp_out_channels=32,
        atrous_rates=[2, 3, 4], num_labels=5,
    )  # fmt: skip
    return torch_model(MobileViTForSemanticSegmentation(config), pixel_values=_image())


@taught(brightness)
def dpt() -> Any:
    """DPT (a ViT whose layers are assembled to a depth map): transformers."""
    from transformers import DPTConfig, DPTForDepthEstimation

    config = DPTConfig(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=3, intermediate_size=96, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[16, 24, 32, 48], fusion_hidden_size=24,
    )  # fmt: skip
    return torch_model(DPTForDepthEstimation(config), pixel_values=_image())
