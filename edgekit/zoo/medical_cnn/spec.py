"""Facts about a classifier that shows where it looked."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="CNN with class activation maps",
    paper="Zhou, Khosla, Lapedriza, Oliva and Torralba: Learning deep features for discriminative localization. CVPR "
    "2016, arXiv:1512.04150; used on chest radiographs by Rajpurkar et al., arXiv:1711.05225",
    variant=(
        "stages of two 3x3 convolutions without bias, each with BatchNorm of epsilon 1e-5 and ReLU, and 2x2 max "
        "pooling between them; a 1x1 convolution to the classes gives the map of each, whose mean is the logit. The "
        "mean and a linear layer commute, so that this is the paper's map (section 2) in closed form, without a second "
        "pass or a gradient on the device: the map is an output of the same file, with a gate of its own"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 32, "channels": 3, "classes": 10, "widths": (12, 16, 24)},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(
                TensorSpec("logits", (1, 10), role="classes"),
                TensorSpec("map", (1, 8, 8, 10), layout="channels_last"),
            ),
            parameters=14750,
            task="textures",
            training=Training(epochs=8, learning_rate=4e-3),
            floor=0.85,
        ),
        "reference": Config(
            settings={"image_size": 224, "channels": 1, "classes": 14, "widths": (32, 64, 128, 256, 512)},
            inputs=(TensorSpec("image", (1, 224, 224, 1), layout="channels_last"),),
            outputs=(
                TensorSpec("logits", (1, 14), role="classes"),
                TensorSpec("map", (1, 14, 14, 14), layout="channels_last"),
            ),
            parameters=4_720_814,
        ),
    },
)
