"""Facts about MobileNetV3, and the table of its blocks that both implementations build from."""

from collections.abc import Sequence

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training
from edgekit.zoo.blocks import InvertedResidual, divisible

#: Channels of the expansion, output channels, kernel, stride, whether it squeezes and excites, whether it has
#: hard-swish (else ReLU). No expansion convolution where the block's inputs are as many already.
Row = tuple[int, int, int, int, bool, bool]

#: Table 2 of the paper (Small).
SMALL: tuple[Row, ...] = (
    (16, 16, 3, 2, True, False),
    (72, 24, 3, 2, False, False),
    (88, 24, 3, 1, False, False),
    (96, 40, 5, 2, True, True),
    (240, 40, 5, 1, True, True),
    (240, 40, 5, 1, True, True),
    (120, 48, 5, 1, True, True),
    (144, 48, 5, 1, True, True),
    (288, 96, 5, 2, True, True),
    (576, 96, 5, 1, True, True),
    (576, 96, 5, 1, True, True),
)

#: Table 1 of the paper (Large).
LARGE: tuple[Row, ...] = (
    (16, 16, 3, 1, False, False),
    (64, 24, 3, 2, False, False),
    (72, 24, 3, 1, False, False),
    (72, 40, 5, 2, True, False),
    (120, 40, 5, 1, True, False),
    (120, 40, 5, 1, True, False),
    (240, 80, 3, 2, False, True),
    (200, 80, 3, 1, False, True),
    (184, 80, 3, 1, False, True),
    (184, 80, 3, 1, False, True),
    (480, 112, 3, 1, True, True),
    (672, 112, 3, 1, True, True),
    (672, 160, 5, 2, True, True),
    (960, 160, 5, 1, True, True),
    (960, 160, 5, 1, True, True),
)

#: For 32x32 images: 32 -> 16 -> 8 -> 4 instead of 224 -> ... -> 7.
TINY: tuple[Row, ...] = (
    (16, 16, 3, 1, True, False),
    (48, 24, 3, 2, False, False),
    (72, 24, 3, 1, False, False),
    (72, 32, 5, 2, True, True),
    (96, 32, 5, 1, True, True),
)


def plan(stem: int, rows: Sequence[Row]) -> tuple[InvertedResidual, ...]:
    """All blocks in order; squeeze-and-excite has a quarter of the channels that it weighs."""
    blocks = []
    inputs = stem
    for expanded, outputs, kernel, stride, squeezes, swish in rows:
        activation = "hard_swish" if swish else "relu"
        squeezed = divisible(expanded / 4) if squeezes else 0
        blocks.append(InvertedResidual(inputs, expanded, outputs, kernel, stride, activation, squeezed))
        inputs = outputs
    return tuple(blocks)


SPEC = Architecture(
    title="MobileNetV3",
    paper="Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le and Adam: Searching for MobileNetV3. "
    "ICCV 2019, arXiv:1905.02244",
    variant=(
        "keras.applications.MobileNetV3Small: hard-swish, and ReLU in the first blocks; squeeze-and-excite of two 1x1 "
        "convolutions with biases, ReLU and hard-sigmoid, behind the depthwise convolution's activation; BatchNorm "
        "epsilon 1e-3; every stride-2 convolution pads an even image with one zero less before than after "
        "(TensorFlow's SAME); behind the global average a dense layer with hard-swish, then one of logits (there 1x1 "
        "convolutions on the one pixel that is left)"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 32, "classes": 10, "stem": 16, "rows": TINY, "last": 96, "point": 64},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=41_818,
            task="textures",
            training=Training(epochs=14, learning_rate=4e-3),
            floor=0.85,
        ),
        "large": Config(
            settings={"image_size": 224, "classes": 1000, "stem": 16, "rows": LARGE, "last": 960, "point": 1280},
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
            parameters=5_483_032,
        ),
        "reference": Config(
            settings={"image_size": 224, "classes": 1000, "stem": 16, "rows": SMALL, "last": 576, "point": 1024},
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
            parameters=2_542_856,
        ),
    },
)
