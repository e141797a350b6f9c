"""Facts about the one-stage detector, Tiny YOLOv2."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="Tiny YOLOv2",
    paper="Redmon and Farhadi: YOLO9000: Better, faster, stronger. CVPR 2017, arXiv:1612.08242; "
    "layers of the authors' yolov2-tiny-voc.cfg",
    variant=(
        "3x3 convolutions padded with one zero on each side, without bias, each with BatchNorm of epsilon 1e-5 and "
        "leaky ReLU of slope 0.1; 2x2 max pooling of stride 2 after all but the last two, in the reference one more of "
        "stride 1 that repeats the last row and column; 1x1 convolutions with bias at the end. The authors' last "
        "convolution is split into two with the same weights in all: `boxes` (tx, ty, tw, th per anchor) and `scores` "
        "(logits of objectness, then of the classes). In one int8 tensor the objectness, which goes far below zero "
        "where there is nothing, would set the step for the offsets, which lie within about -3 to 3. The boxes are "
        "raw: decoding (sigmoid, exponential, grid) and suppression are done outside of the graph in float"
    ),
    family="detection",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 48, "classes": 3, "anchors": 3, "widths": (16, 32, 64, 96, 96), "last_pool": False},
            inputs=(TensorSpec("image", (1, 48, 48, 3), layout="channels_last"),),
            outputs=(TensorSpec("boxes", (1, 108, 4), channels=(2,)), TensorSpec("scores", (1, 108, 4), channels=(2,))),
            parameters=164_648,
            task="scenes",
            training=Training(epochs=10, batch=32, learning_rate=3e-3),
            floor=0.85,
        ),
        # A convolution from v to w channels has 9vw parameters, its BatchNorm 2w:
        #   3 -> 16 -> 32 -> 64      464 + 4,672 + 18,560
        #   -> 128 -> 256 -> 512     73,984 + 295,424 + 1,180,672
        #   -> 1024 -> 1024          4,720,640 + 9,439,232
        #   heads                    1024 * 5 * (4 + 1 + 20) + 125
        "reference": Config(
            settings={
                "image_size": 416,
                "classes": 20,
                "anchors": 5,
                "widths": (16, 32, 64, 128, 256, 512, 1024, 1024),
                "last_pool": True,
            },
            inputs=(TensorSpec("image", (1, 416, 416, 3), layout="channels_last"),),
            outputs=(
                TensorSpec("boxes", (1, 845, 4), channels=(2,)),
                TensorSpec("scores", (1, 845, 21), channels=(2,)),
            ),
            parameters=15_861_773,
        ),
    },
)
