"""Facts about DenseNet."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="DenseNet",
    paper="Huang, Liu, van der Maaten and Weinberger: Densely connected convolutional networks. CVPR 2017, "
    "arXiv:1608.06993",
    variant=(
        "DenseNet-BC with growth 32, bottlenecks of 128 and compression of one half, as torchvision's densenet121: "
        "norm and ReLU before each convolution; BatchNorm epsilon 1e-5; 7x7 and 3x3 convolutions and the stem's "
        "pooling pad the same on all sides. A norm before a convolution cannot be folded into one behind it, and the "
        "concatenations ask an integer file for one range of values that were made by many layers"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={
                "image_size": 32, "classes": 10, "stem": (24, 3, 1), "stem_pool": False, "growth": 12,
                "bottleneck": 24, "depths": (3, 3, 3),
            },
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=39_070,
            task="textures",
            training=Training(epochs=5, learning_rate=4e-3),
            floor=0.85,
        ),
        "reference": Config(
            settings={
                "image_size": 224, "classes": 1000, "stem": (64, 7, 2), "stem_pool": True, "growth": 32,
                "bottleneck": 128, "depths": (6, 12, 24, 16),
            },
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
            parameters=7_978_856,
        ),
    },
)  # fmt: skip
