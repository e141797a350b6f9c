"""Vision transformers of transformers and timm."""

from __future__ import annotations

from typing import Any

from settled import images, timm, torch_model

KIND = "ViT-like"
_SMALL = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96, "image_size": 32, "patch_size": 8,
}  # fmt: skip


def _image(size: int = 32) -> Any:
    import torch

    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def samples() -> Any:
    """Images of 32 pixels."""
    return images(32)


def deit() -> Any:
    """DeiT: transformers."""
    from transformers import DeiTConfig, DeiTForImageClassification

    return torch_model(DeiTForImageClassification(DeiTConfig(**_SMALL, num_labels=10)), pixel_values=_image())


def dinov2() -> Any:
    """DINOv2 (layer scale): transformers."""
    from transformers import Dinov2Config, Dinov2ForImageClassification

    return torch_model(
        Dinov2ForImageClassification(Dinov2Config(**_SMALL, mlp_ratio=2, num_labels=10)), pixel_values=_image()
    )


def beit() -> Any:
    """BEiT (relative position bias): transformers."""
    from transformers import BeitConfig, BeitForImageClassification

    config = BeitConfig(**_SMALL, use_relative_position_bias=True, num_labels=10)
    return torch_model(BeitForImageClassification(config), pixel_values=_image())


def siglip() -> Any:
    """SigLIP's image tower (attention pooling): transformers."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    return torch_model(SiglipVisionModel(SiglipVisionConfig(**_SMALL)), pixel_values=_image())


def eva02() -> Any:
    """EVA-02 (rotary positions, SwiGLU): timm."""
    timm()
    from timm.models.eva import Eva

    model = Eva(
        img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=10, swiglu_mlp=True, use_rot_pos_emb=True,
        ref_feat_shape=(4, 4),
    )  # fmt: skip
    return torch_model(model, x=_image())


def xcit() -> Any:
    """XCiT (attention between channels): timm."""
    timm()
    from timm.models.xcit import Xcit

    return torch_model(Xcit(img_size=32, patch_size=8, embed_dim=48, depth=2, num_heads=3, num_classes=10), x=_image())
