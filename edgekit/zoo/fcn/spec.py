"""Facts about FCN on a dilated ResNet."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="Fully convolutional network (FCN), dilated",
    paper="Long, Shelhamer and Darrell: Fully convolutional networks for semantic segmentation. CVPR 2015, "
    "arXiv:1411.4038; on the trunk of Yu, Koltun and Funkhouser: Dilated residual networks. CVPR 2017, "
    "arXiv:1705.09914",
    variant=(
        "torchvision's fcn_resnet50 without the auxiliary head: ResNet v1.5 whose last two stages keep the size "
        "of their map and are dilated by 2 and 4; a 3x3 convolution without bias to a quarter of the channels, "
        "BatchNorm, ReLU, dropout, a 1x1 convolution to the classes; bilinear to the image's size (centres of pixels "
        "at halves). Dilated convolutions and the resize are where runtimes fall back to slow kernels"
    ),
    family="segmentation",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={
                "image_size": 64, "classes": 3, "kind": "basic", "depths": (1, 1, 1, 1), "widths": (16, 24, 32, 48),
                "stem": 16, "stem_kernel": 3, "stem_stride": 1, "dropout": 0.1,
            },
            inputs=(TensorSpec("image", (1, 64, 64, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 64, 64, 3), layout="channels_last", role="classes"),),
            parameters=73_023,
            task="street_area",
            training=Training(epochs=8, batch=32, learning_rate=4e-3),
            floor=0.8,
        ),
        # torchvision's 35,322,218 without the 2,365,205 of the auxiliary head
        "reference": Config(
            settings={
                "image_size": 520, "classes": 21, "kind": "bottleneck", "depths": (3, 4, 6, 3),
                "widths": (256, 512, 1024, 2048), "stem": 64, "stem_kernel": 7, "stem_stride": 2, "dropout": 0.1,
            },
            inputs=(TensorSpec("image", (1, 520, 520, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 520, 520, 21), layout="channels_last", role="classes"),),
            parameters=32_957_013,
        ),
    },
)  # fmt: skip
