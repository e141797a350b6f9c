"""Facts about ResNet, and the table of its blocks that both implementations build from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

Kind = Literal["basic", "bottleneck"]


@dataclass(frozen=True)
class Block:
    """One residual block: its place (stage and index, both from 0), channels and stride.

    ``inner`` is the width of its 3x3 convolutions: a quarter of ``outputs`` in a bottleneck; ``dilation`` is theirs.
    """

    stage: int
    index: int
    inputs: int
    inner: int
    outputs: int
    stride: int
    dilation: int = 1

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a 1x1 convolution (option B of the paper) rather than the identity."""
        return self.stride != 1 or self.inputs != self.outputs


def plan(kind: Kind, depths: Sequence[int], widths: Sequence[int], stem: int, *, dilated: int = 0) -> tuple[Block, ...]:
    """All blocks in order; every stage but the first halves the image.

    The last ``dilated`` stages keep its size instead: their 3x3 convolutions see as far by dilation, which doubles
    behind the first block of each (Yu, Koltun and Funkhouser, arXiv:1705.09914; as torchvision does it).
    """
    blocks = []
    inputs, dilation = stem, 1
    for stage, (depth, outputs) in enumerate(zip(depths, widths, strict=True)):
        inner = outputs // 4 if kind == "bottleneck" else outputs
        for index in range(depth):
            halves = stage > 0 and index == 0
            keeps = halves and stage >= len(depths) - dilated
            blocks.append(Block(stage, index, inputs, inner, outputs, 2 if halves and not keeps else 1, dilation))
            dilation *= 2 if keeps else 1
            inputs = outputs
    return tuple(blocks)


def _imagenet(kind: Kind, depths: tuple[int, ...], widths: tuple[int, ...], parameters: int) -> Config:
    return Config(
        settings={
            "image_size": 224,
            "classes": 1000,
            "kind": kind,
            "depths": depths,
            "widths": widths,
            "stem": 64,
            "stem_kernel": 7,
            "stem_stride": 2,
        },
        inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
        outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
        parameters=parameters,
    )


SPEC = Architecture(
    title="ResNet",
    paper="He, Zhang, Ren and Sun: Deep residual learning for image recognition. CVPR 2016, arXiv:1512.03385",
    variant=(
        "v1.5, as torchvision and transformers' ResNetForImageClassification have it: in a bottleneck the 3x3 "
        "convolution carries the stride (the paper: the first 1x1); BatchNorm epsilon 1e-5; every 3x3 and 7x7 "
        "convolution and the 3x3 max pooling pad the same number of zeros on all sides, also with stride 2; "
        "convolutions without bias; ReLU after the addition; projection shortcuts where the shape changes"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={
                "image_size": 32,
                "classes": 10,
                "kind": "basic",
                "depths": (1, 1, 1),
                "widths": (16, 32, 64),
                "stem": 16,
                "stem_kernel": 3,
                "stem_stride": 1,
            },
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=78_042,
            task="textures",
            training=Training(epochs=20, learning_rate=4e-3),
            floor=0.85,
        ),
        "resnet18": _imagenet("basic", (2, 2, 2, 2), (64, 128, 256, 512), 11_689_512),
        "reference": _imagenet("bottleneck", (3, 4, 6, 3), (256, 512, 1024, 2048), 25_557_032),
    },
)
