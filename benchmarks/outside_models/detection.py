"""Detectors of transformers with small backbones of their own."""

from __future__ import annotations

from typing import Any

from settled import torch_model
from taught import boxes, scenes, taught

KIND = "detection"


def _image(size: int = 64) -> Any:
    import torch

    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def samples() -> Any:
    """Scenes of 64 pixels."""
    return scenes()


def _resnet() -> Any:
    from transformers import ResNetConfig

    return ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )


@taught(boxes)
def detr() -> Any:
    """DETR: transformers."""
    from transformers import DetrConfig, DetrForObjectDetection

    config = DetrConfig(
        backbone_config=_resnet(), use_timm_backbone=False, use_pretrained_backbone=False, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=10, num_labels=5,
    )  # fmt: skip
    return torch_model(DetrForObjectDetection(config), pixel_values=_image())


@taught(boxes)
def conditional_detr() -> Any:
    """Conditional DETR (queries from positions): transformers."""
    from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection

    config = ConditionalDetrConfig(
        backbone_config=_resnet(), use_timm_backbone=False, use_pretrained_backbone=False, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_queries=10, num_labels=5,
    )  # fmt: skip
    return torch_model(ConditionalDetrForObjectDetection(config), pixel_values=_image())


@taught(boxes)
def yolos() -> Any:
    """YOLOS (a ViT with tokens for boxes): transformers."""
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=[64, 64], patch_size=16,
        num_detection_tokens=10, num_labels=5, use_mid_position_embeddings=True,
    )  # fmt: skip
    return torch_model(YolosForObjectDetection(config), pixel_values=_image())


@taught(boxes)
def rt_detr() -> Any:
    """RT-DETR (deformable attention, the best of its anchors as queries): transformers."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone, use_timm_backbone=False, use_pretrained_backbone=False, encoder_hidden_dim=32, d_model=32,
        encoder_in_channels=[24, 32, 48], encoder_ffn_dim=64, encoder_attention_heads=2, decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=64, decoder_attention_heads=2, decoder_layers=1, decoder_n_points=2, num_queries=10, num_labels=5,
        anchor_image_size=[64, 64], num_denoising=0, hidden_expansion=0.5,
    )  # fmt: skip
    return torch_model(RTDetrForObjectDetection(config), pixel_values=_image())
