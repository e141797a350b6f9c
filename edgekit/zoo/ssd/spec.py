"""Facts about the single shot detector, and the table that both implementations build from."""

from dataclasses import dataclass

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


@dataclass(frozen=True)
class Extra:
    """A 1x1 and a 3x3 convolution behind the trunk; without a stride the 3x3 has no zeros around it."""

    narrow: int
    outputs: int
    stride: int


#: Behind VGG-16 for images of 300 (figure 2 of the paper): 19 -> 10 -> 5 -> 3 -> 1.
SSD300 = (Extra(256, 512, 2), Extra(128, 256, 2), Extra(128, 256, 1), Extra(128, 256, 1))


def _outputs(boxes: int, classes: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec("boxes", (1, boxes, 4), channels=(2,)),
        TensorSpec("scores", (1, boxes, classes + 1), channels=(2,)),
    )


SPEC = Architecture(
    title="Single shot detector (SSD)",
    paper="Liu, Anguelov, Erhan, Szegedy, Reed, Fu and Berg: SSD: Single shot multibox detector. ECCV 2016, "
    "arXiv:1512.02325",
    variant=(
        "SSD300 on VGG-16 as the authors': the map before the fourth pooling divided by its length at each place and "
        "scaled per channel (a depthwise 1x1 convolution, 20 at first); 3x3 pooling of stride 1 behind the fifth "
        "stage; a dilated and a 1x1 convolution for the linear layers; heads of 3x3 convolutions on all maps. Boxes "
        "are raw offsets, scores are logits with the background first: decoding and suppression are done outside of "
        "the graph in float. The division by the length is what int8 finds hard"
    ),
    family="detection",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={
                "image_size": 64, "classes": 3, "stages": ((16,), (24, 24), (32, 32), (48,)), "source": 2,
                "wide": 48, "dilation": 2, "extras": (Extra(32, 64, 2), Extra(32, 48, 2)), "anchors": (4, 4, 4, 4),
            },
            inputs=(TensorSpec("image", (1, 64, 64, 3), layout="channels_last"),),
            outputs=_outputs(1360, 3),
            parameters=153_808,
            task="street_objects",
            training=Training(epochs=14, batch=32, learning_rate=1.5e-3),
            floor=0.5,
        ),
        "reference": Config(
            settings={
                "image_size": 300, "classes": 20,
                "stages": ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)), "source": 3,
                "wide": 1024, "dilation": 6, "extras": SSD300, "anchors": (4, 6, 6, 6, 4, 4),
            },
            inputs=(TensorSpec("image", (1, 300, 300, 3), layout="channels_last"),),
            outputs=_outputs(8732, 20),
            parameters=26_285_486,
        ),
    },
)  # fmt: skip
