"""Facts about MobileNetV2, and the table of its blocks that both implementations build from."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training
from edgekit.zoo.blocks import InvertedResidual, divisible

Stage = tuple[int, int, int, int]

#: Table 2 of the paper: expansion factor, output channels, repeats, stride of the first block.
STAGES: tuple[Stage, ...] = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

#: For 32x32 images: half the depth, and 32 -> 16 -> 8 -> 4 instead of 224 -> ... -> 7.
TINY_STAGES: tuple[Stage, ...] = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 32, 2, 1), (4, 48, 2, 2))


@dataclass(frozen=True)
class Plan:
    """Channels of the whole network for one width multiplier."""

    stem: int
    blocks: tuple[InvertedResidual, ...]
    head: int


def plan(alpha: float, stages: Sequence[Stage], head: int) -> Plan:
    """Channels for width multiplier ``alpha``; the head grows with it but never shrinks (section 5 of the paper)."""
    width = stem = divisible(32 * alpha)
    blocks = []
    for expansion, channels, repeats, stride in stages:
        outputs = divisible(int(channels * alpha))
        for i in range(repeats):
            stride_here = stride if i == 0 else 1
            blocks.append(InvertedResidual(width, width * expansion, outputs, 3, stride_here, "relu6"))
            width = outputs
    return Plan(stem, tuple(blocks), divisible(head * alpha) if alpha > 1 else head)


SPEC = Architecture(
    title="MobileNetV2",
    paper="Sandler, Howard, Zhu, Zhmoginov and Chen: MobileNetV2: Inverted residuals and linear bottlenecks. "
    "CVPR 2018, arXiv:1801.04381",
    variant=(
        "keras.applications.MobileNetV2: ReLU6; BatchNorm epsilon 1e-3; the depthwise convolution carries the stride; "
        "every stride-2 convolution pads an even image with no zeros before and one after (TensorFlow's SAME), others "
        "pad one on each side; convolutions without bias; global average, then one dense layer of logits"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 32, "classes": 10, "alpha": 0.5, "stages": TINY_STAGES, "head": 128},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=24_698,
            task="textures",
            training=Training(epochs=14, learning_rate=4e-3),
            floor=0.85,
        ),
        # A base that was trained for other classes stays as it is, and a new head of linear logits is trained on it.
        "transfer": Config(
            settings={"image_size": 32, "classes": 5, "alpha": 0.5, "stages": TINY_STAGES, "head": 128},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 5), role="classes"),),
            parameters=24_053,
            task="materials",
            training=Training(epochs=30, learning_rate=1e-2, start="tiny", trained=("logits",)),
            floor=0.8,
        ),
        "reference": Config(
            settings={"image_size": 224, "classes": 1000, "alpha": 1.0, "stages": STAGES, "head": 1280},
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
            parameters=3_504_872,
        ),
    },
)
