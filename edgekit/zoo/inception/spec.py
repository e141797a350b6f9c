"""Facts about the Inception networks: each is a table of layers, which both implementations build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training
from edgekit.zoo.blocks import Padding


@dataclass(frozen=True)
class Conv:
    """Convolution without bias, BatchNorm, ReLU."""

    outputs: int
    kernel: int | tuple[int, int]
    stride: int = 1
    padding: Padding = "symmetric"


@dataclass(frozen=True)
class Pool:
    """3x3 pooling; an average counts no zeros.

    With stride 1 the map keeps its size; with 2 it ends inside of the map (``valid``), or begins at its edge and may
    reach over the other (``same``; of an even map).
    """

    kind: Literal["max", "average"]
    stride: int
    padding: Padding = "same"


@dataclass(frozen=True)
class Mixed:
    """Branches that read the same map; their outputs are put behind each other."""

    branches: tuple[tuple[Layer, ...], ...]


Layer = Conv | Pool | Mixed


def cell(one: int, narrow3: int, three: int, narrow5: int, five: int, pooled: int) -> Mixed:
    """A cell of GoogLeNet; the branch of ``five`` has a 3x3 convolution, as torchvision's checkpoint."""
    return Mixed(
        (
            (Conv(one, 1),),
            (Conv(narrow3, 1), Conv(three, 3)),
            (Conv(narrow5, 1), Conv(five, 3)),
            (Pool("max", 1), Conv(pooled, 1)),
        )
    )


def square(pooled: int) -> Mixed:
    """Figure 5 of arXiv:1512.00567."""
    return Mixed(
        (
            (Conv(64, 1),),
            (Conv(48, 1), Conv(64, 5)),
            (Conv(64, 1), Conv(96, 3), Conv(96, 3)),
            (Pool("average", 1), Conv(pooled, 1)),
        )
    )


def crossed(inner: int) -> Mixed:
    """Figure 6: 7x7 as 1x7 and 7x1."""
    wide, high = (1, 7), (7, 1)
    return Mixed(
        (
            (Conv(192, 1),),
            (Conv(inner, 1), Conv(inner, wide), Conv(192, high)),
            (Conv(inner, 1), Conv(inner, high), Conv(inner, wide), Conv(inner, high), Conv(192, wide)),
            (Pool("average", 1), Conv(192, 1)),
        )
    )


def spread() -> Mixed:
    """Figure 7: 3x3 as 1x3 beside 3x1."""
    both = Mixed(((Conv(384, (1, 3)),), (Conv(384, (3, 1)),)))
    return Mixed(
        (
            (Conv(320, 1),),
            (Conv(384, 1), both),
            (Conv(448, 1), Conv(384, 3), both),
            (Pool("average", 1), Conv(192, 1)),
        )
    )


GOOGLENET: tuple[Layer, ...] = (
    Conv(64, 7, 2),
    Pool("max", 2),
    Conv(64, 1),
    Conv(192, 3),
    Pool("max", 2),
    cell(64, 96, 128, 16, 32, 32),
    cell(128, 128, 192, 32, 96, 64),
    Pool("max", 2),
    cell(192, 96, 208, 16, 48, 64),
    cell(160, 112, 224, 24, 64, 64),
    cell(128, 128, 256, 24, 64, 64),
    cell(112, 144, 288, 32, 64, 64),
    cell(256, 160, 320, 32, 128, 128),
    Pool("max", 2),
    cell(256, 160, 320, 32, 128, 128),
    cell(384, 192, 384, 48, 128, 128),
)

INCEPTION_V3: tuple[Layer, ...] = (
    Conv(32, 3, 2, "valid"),
    Conv(32, 3, 1, "valid"),
    Conv(64, 3),
    Pool("max", 2, "valid"),
    Conv(80, 1),
    Conv(192, 3, 1, "valid"),
    Pool("max", 2, "valid"),
    square(32),
    square(64),
    square(64),
    Mixed(
        (
            (Conv(384, 3, 2, "valid"),),
            (Conv(64, 1), Conv(96, 3), Conv(96, 3, 2, "valid")),
            (Pool("max", 2, "valid"),),
        )
    ),
    crossed(128),
    crossed(160),
    crossed(160),
    crossed(192),
    Mixed(
        (
            (Conv(192, 1), Conv(320, 3, 2, "valid")),
            (Conv(192, 1), Conv(192, (1, 7)), Conv(192, (7, 1)), Conv(192, 3, 2, "valid")),
            (Pool("max", 2, "valid"),),
        )
    ),
    spread(),
    spread(),
)

#: For 32x32 images: 32 -> 16 -> 8, each kind of branch once.
TINY: tuple[Layer, ...] = (
    Conv(16, 3),
    Pool("max", 2),
    cell(12, 12, 16, 8, 12, 8),
    Mixed(
        (
            (Conv(12, 1),),
            (Conv(12, 1), Conv(12, (1, 5)), Conv(16, (5, 1))),
            (Conv(12, 1), Mixed(((Conv(12, (1, 3)),), (Conv(12, (3, 1)),)))),
            (Pool("average", 1), Conv(12, 1)),
        )
    ),
    Pool("max", 2),
    cell(16, 16, 32, 8, 16, 16),
)


def _config(size: int, classes: int, table: tuple[Layer, ...], parameters: int, dropout: float) -> Config:
    return Config(
        settings={"image_size": size, "classes": classes, "table": table, "dropout": dropout},
        inputs=(TensorSpec("image", (1, size, size, 3), layout="channels_last"),),
        outputs=(TensorSpec("logits", (1, classes), role="classes"),),
        parameters=parameters,
    )


SPEC = Architecture(
    title="Inception (GoogLeNet and v3)",
    paper="Szegedy et al.: Going deeper with convolutions. CVPR 2015, arXiv:1409.4842; Szegedy, Vanhoucke, Ioffe, "
    "Shlens and Wojna: Rethinking the Inception architecture for computer vision. CVPR 2016, arXiv:1512.00567",
    variant=(
        "BatchNorm with epsilon 1e-3 behind every convolution, which has no bias; no auxiliary classifiers, which are "
        "nothing at inference. GoogLeNet as torchvision's: 3x3 where the paper has 5x5. v3 as keras.applications' "
        "InceptionV3, with scales in its norms: averages count no zeros around the map. Four branches with ranges of "
        "their own meet in each concatenation"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 32, "classes": 10, "table": TINY, "dropout": 0.1},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=19_242,
            task="textures",
            training=Training(epochs=5, learning_rate=4e-3),
            floor=0.85,
        ),
        "inception_v3": _config(299, 1000, INCEPTION_V3, 23_834_568, 0.5),
        "reference": _config(224, 1000, GOOGLENET, 6_624_904, 0.2),
    },
)
