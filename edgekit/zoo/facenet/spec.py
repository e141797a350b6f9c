"""Facts about FaceNet."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training
from edgekit.zoo.inception.spec import GOOGLENET, Conv, Layer, Pool, cell

#: For 32x32 images: 32 -> 16 -> 8.
TINY: tuple[Layer, ...] = (
    Conv(16, 3),
    Pool("max", 2),
    Conv(32, 3),
    cell(16, 16, 24, 8, 12, 12),
    Pool("max", 2),
    cell(24, 24, 40, 8, 16, 16),
)

SPEC = Architecture(
    title="FaceNet",
    paper="Schroff, Kalenichenko and Philbin: FaceNet: A unified embedding for face recognition and clustering. CVPR "
    "2015, arXiv:1503.03832",
    variant=(
        "an Inception trunk (here GoogLeNet's, with BatchNorm; the paper's NN2 has other widths and L2 pooling), the "
        "mean of the map, a linear layer without bias to 128 numbers, scaled to length 1. Trained by the triplet loss "
        "with margin 0.2 on semi-hard negatives of the batch. Whether two pictures show one person is decided by the "
        "distance of their embeddings, outside of the graph; who was never seen in training is told apart, too"
    ),
    family="face and style",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 32, "table": TINY, "code": 64},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("embedding", (1, 64)),),
            parameters=32_096,
            task="faces",
            training=Training(epochs=15, batch=192, learning_rate=3e-3),
            floor=0.6,
        ),
        "reference": Config(
            settings={"image_size": 224, "table": GOOGLENET, "code": 128},
            inputs=(TensorSpec("image", (1, 224, 224, 3), layout="channels_last"),),
            outputs=(TensorSpec("embedding", (1, 128)),),
            parameters=5_730_976,
        ),
    },
)
