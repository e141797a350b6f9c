"""Facts about AlexNet."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="AlexNet",
    paper="Krizhevsky, Sutskever and Hinton: ImageNet classification with deep convolutional neural networks. "
    "NIPS 2012; in one tower: Krizhevsky: One weird trick for parallelizing convolutional neural networks. "
    "arXiv:1404.5997",
    variant=(
        "torchvision's: one tower of 64, 192, 384, 256 and 256 channels without local response normalization; ReLU; "
        "3x3 max pooling of stride 2 behind the first, second and fifth convolution; dropout of one half before both "
        "hidden linear layers. 94 % of the parameters are in the linear layers, which read the last map channels last"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        # No dropout: of one fifth it kept so narrow a network from learning textures.
        "tiny": Config(
            settings={
                "image_size": 32, "classes": 10, "stem": (5, 1, 2), "widths": (16, 32, 48, 32, 32), "hidden": 64,
                "dropout": 0.0,
            },
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=74_330,
            task="textures",
            training=Training(epochs=15, batch=32, learning_rate=1e-3),
            floor=0.85,
        ),
        "reference": Config(
            settings={
                "image_size": 224, "classes": 1000, "stem": (11, 4, 2), "widths": (64, 192, 384, 256, 256),
                "hidden": 4096, "dropout": 0.5,
            },
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
            parameters=61_100_840,
        ),
    },
)  # fmt: skip
