"""Facts about VGG."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

#: Table 1 of the paper, columns D and E: channels of the convolutions before each 2x2 max pooling.
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG19 = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512))


def _imagenet(stages: tuple[tuple[int, ...], ...], parameters: int) -> Config:
    return Config(
        settings={"image_size": 224, "classes": 1000, "stages": stages, "hidden": 4096, "dropout": 0.5},
        inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
        outputs=(TensorSpec("logits", (1, 1000), role="classes"),),
        parameters=parameters,
    )


SPEC = Architecture(
    title="VGG",
    paper="Simonyan and Zisserman: Very deep convolutional networks for large-scale image recognition. ICLR 2015, "
    "arXiv:1409.1556",
    variant=(
        "configurations D (16 layers) and E (19) of table 1: 3x3 convolutions with biases and zeros around, ReLU, 2x2 "
        "max pooling; dropout of one half behind both hidden linear layers. No norm keeps values in range, and 500 MB "
        "of float weights are what makes it hard on a device"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        # No dropout: of one fifth it kept so narrow a network from learning textures.
        "tiny": Config(
            settings={
                "image_size": 32, "classes": 10, "stages": ((16,), (24,), (32, 32), (48, 48)), "hidden": 64,
                "dropout": 0.0,
            },
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=71_938,
            task="textures",
            training=Training(epochs=28, batch=32, learning_rate=1e-3),
            floor=0.85,
        ),
        "vgg19": _imagenet(VGG19, 143_667_240),
        "reference": _imagenet(VGG16, 138_357_544),
    },
)  # fmt: skip
