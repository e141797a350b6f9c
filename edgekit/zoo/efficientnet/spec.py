"""Facts about EfficientNet, and the table of its blocks that both implementations build from."""

from collections.abc import Sequence

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training
from edgekit.zoo.blocks import InvertedResidual

#: Expansion factor, output channels, repeats, stride of the first block, kernel.
Stage = tuple[int, int, int, int, int]

#: Table 1 of the paper (B0).
B0: tuple[Stage, ...] = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)

#: For 32x32 images: 32 -> 16 -> 8 -> 4.
TINY: tuple[Stage, ...] = ((1, 16, 1, 1, 3), (4, 24, 2, 2, 3), (4, 32, 1, 2, 5), (4, 40, 1, 1, 5))


def plan(stem: int, stages: Sequence[Stage]) -> tuple[InvertedResidual, ...]:
    """All blocks in order; squeeze-and-excite has a quarter of the channels that the *block* takes."""
    blocks = []
    inputs = stem
    for expansion, outputs, repeats, stride, kernel in stages:
        for i in range(repeats):
            blocks.append(
                InvertedResidual(
                    inputs, inputs * expansion, outputs, kernel, stride if i == 0 else 1,
                    activation="silu", squeezed=max(1, inputs // 4), gates=("silu", "sigmoid"),
                )
            )  # fmt: skip
            inputs = outputs
    return tuple(blocks)


SPEC = Architecture(
    title="EfficientNet",
    paper="Tan and Le: EfficientNet: Rethinking model scaling for convolutional neural networks. ICML 2019, "
    "arXiv:1905.11946",
    variant=(
        "B0 as keras.applications has it, without the preprocessing inside: SiLU; squeeze-and-excite of two 1x1 "
        "convolutions with SiLU and sigmoid, a quarter of the block's input wide; BatchNorm epsilon 1e-3; every "
        "stride-2 convolution pads an even image with one zero less before than after (TensorFlow's SAME); dropout "
        "before the logits, no stochastic depth. SiLU and the gates are what 8-bit activations find hard"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 32, "classes": 10, "stem": 16, "stages": TINY, "head": 96, "dropout": 0.1},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=41_926,
            task="textures",
            training=Training(epochs=7, learning_rate=4e-3),
            floor=0.85,
        ),
        "reference": Config(
            settings={"image_size": 224, "classes": 1000, "stem": 32, "stages": B0, "head": 1280, "dropout": 0.2},
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
            parameters=5_288_548,
        ),
    },
)
