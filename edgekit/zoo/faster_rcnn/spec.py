"""Facts about Faster R-CNN with a mask head."""

from __future__ import annotations

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Part, Training


def _parts(
    size: int, finest: int, levels: int, width: int, anchors: int, classes: int, box: int, mask: int
) -> dict[str, Part]:
    """The first part looks at an image of ``size``, on whose finest map a place is ``finest`` pixels wide.

    Each head looks at one region; the map behind the last level has anchors and is not read.
    """
    sides = [-(-size // (finest * 2**i)) for i in range(levels + 1)]
    places = anchors * sum(side * side for side in sides)
    maps = (TensorSpec(f"map_{i}", (1, s, s, width), layout="channels_last") for i, s in enumerate(sides[:-1]))
    return {
        "proposals": Part(
            inputs=(TensorSpec("image", (1, size, size, 3), layout="channels_last"),),
            outputs=(
                TensorSpec("objectness", (1, places, 1), channels=(2,)),
                TensorSpec("offsets", (1, places, 4), channels=(2,)),
                *maps,
            ),
        ),
        "box_head": Part(
            inputs=(TensorSpec("region", (1, box, box, width), layout="channels_last"),),
            outputs=(
                TensorSpec("scores", (1, classes + 1)),
                TensorSpec("offsets", (1, classes, 4), channels=(1, 2)),
            ),
        ),
        "mask_head": Part(
            inputs=(TensorSpec("region", (1, mask, mask, width), layout="channels_last"),),
            outputs=(TensorSpec("masks", (1, 2 * mask, 2 * mask, classes), layout="channels_last"),),
        ),
    }


def _outputs(detections: int, classes: int, mask: int) -> tuple[TensorSpec, ...]:
    """What the host makes of the parts' outputs."""
    return (
        TensorSpec("boxes", (1, detections, 4), channels=(2,)),
        TensorSpec("scores", (1, detections, classes + 1), channels=(2,)),
        TensorSpec("masks", (1, detections, 2 * mask, 2 * mask), channels=()),
    )


SPEC = Architecture(
    title="Faster R-CNN with a mask head (Mask R-CNN)",
    paper="Ren, He, Girshick and Sun: Faster R-CNN. NIPS 2015, arXiv:1506.01497; He, Gkioxari, Dollar and Girshick: "
    "Mask R-CNN. ICCV 2017, arXiv:1703.06870; on feature pyramids (Lin et al., arXiv:1612.03144)",
    variant=(
        "ResNet-50-FPN as torchvision's maskrcnn_resnet50_fpn: ResNet v1.5, a 1x1 convolution on each stage, sums with "
        "the next coarser map enlarged by repetition, a 3x3 convolution, and every second place of the last map as one "
        "more; the proposal network's 3x3 and two 1x1 convolutions shared by all maps, three anchors per place; a box "
        "head of two linear layers on 7x7 bins, offsets per class; a mask head of four 3x3 convolutions, a transposed "
        "one and a 1x1 on 14x14 bins. Background has no offsets and no mask; BatchNorms are trained here, theirs are "
        "frozen. It finds objects and their pixels. Which regions the heads see depends on the data: that is what "
        "makes it hard on a device, whose graph is static. So it is three files: the image's part, and a head for one "
        "region each, called as often as the device has time; choosing regions, reading the maps there (RoIAlign with "
        "half a pixel's shift) and suppression stay in float between them (edgekit/data/tasks/street_instances.py)"
    ),
    family="detection",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={
                "image_size": 64, "classes": 3, "kind": "basic", "depths": (1, 1, 1), "widths": (16, 24, 32),
                "stem": 16, "stem_kernel": 3, "stem_stride": 1, "width": 24, "anchors": 3, "box_size": 5, "inner": 40,
                "mask_size": 7, "mask_depth": 2,
            },
            inputs=(TensorSpec("image", (1, 64, 64, 3), layout="channels_last"),),
            outputs=_outputs(detections=6, classes=3, mask=7),
            parameters=93_554,
            task="street_instances",
            training=Training(epochs=5, batch=16, learning_rate=2e-3),
            floor=0.4,
            parts=_parts(64, finest=2, levels=3, width=24, anchors=3, classes=3, box=5, mask=7),
        ),
        # 44,401,393 as torchvision counts, without frozen BatchNorms: 53,120 of these more, and 4,100 + 257 of the
        # background's offsets and mask less. The paper's images are of 800, whose maps take 55 MB each: the parts are
        # the same at 320.
        "reference": Config(
            settings={
                "image_size": 320, "classes": 90, "kind": "bottleneck", "depths": (3, 4, 6, 3),
                "widths": (256, 512, 1024, 2048), "stem": 64, "stem_kernel": 7, "stem_stride": 2, "width": 256,
                "anchors": 3, "box_size": 7, "inner": 1024, "mask_size": 14, "mask_depth": 4,
            },
            inputs=(TensorSpec("image", (1, 320, 320, 3), layout="channels_last"),),
            outputs=_outputs(detections=100, classes=90, mask=14),
            parameters=44_450_156,
            parts=_parts(320, finest=4, levels=4, width=256, anchors=3, classes=90, box=7, mask=14),
        ),
    },
)  # fmt: skip
