"""Facts about the Vision Transformer."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="Vision Transformer (ViT)",
    paper="Dosovitskiy et al.: An image is worth 16x16 words: Transformers for image recognition at scale. ICLR 2021, "
    "arXiv:2010.11929",
    variant=(
        "a convolution of the patch's size and stride makes the tokens, in rows from the top left; a class token "
        "before them, learned positions; norms before attention and before the feed-forward layers (LayerNorm epsilon "
        "1e-6), GELU by the error function, a norm at the end, linear logits of the class token; dropout in the "
        "feed-forward layers alone. LayerNorm, softmax and GELU are what an integer file has no kernels for"
    ),
    family="image classification",
    kind="attention",
    configs={
        "tiny": Config(
            settings={
                "image_size": 32, "patch": 4, "classes": 10, "width": 48, "depth": 4, "heads": 4, "inner": 96,
                "dropout": 0.0,
            },
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=81_946,
            task="textures",
            training=Training(epochs=30, learning_rate=2e-3),
            floor=0.7,
        ),
        # B/16: 86,567,656 as torchvision's vit_b_16
        "reference": Config(
            settings={
                "image_size": 224, "patch": 16, "classes": 1000, "width": 768, "depth": 12, "heads": 12, "inner": 3072,
                "dropout": 0.0,
            },
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
            parameters=86_567_656,
        ),
    },
)  # fmt: skip
