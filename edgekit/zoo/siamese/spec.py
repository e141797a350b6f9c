"""Facts about the siamese network for one-shot recognition."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _inputs(size: int) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, (1, size, size, 1), layout="channels_last") for name in ("first", "second"))


SPEC = Architecture(
    title="Siamese network",
    paper="Koch, Zemel and Salakhutdinov: Siamese neural networks for one-shot image recognition. ICML deep learning "
    "workshop 2015",
    variant=(
        "one tower, used on both images: convolutions without padding and ReLU, 2x2 max pooling behind all but the "
        "last, a linear layer with sigmoid, which reads the map channels last; the absolute difference of both codes, "
        "and one linear unit of log-odds that they are the same. Two inputs that share all weights: a file that holds "
        "them twice is twice as large"
    ),
    family="face and style",
    kind="convolutional",
    configs={
        # 16*25+16 + 32*16*9+32 + 32*32*4+32 + 4*4*32*64+64 + 64+1
        "tiny": Config(
            settings={"image_size": 28, "convs": ((16, 5), (32, 3), (32, 2)), "code": 64},
            inputs=_inputs(28),
            outputs=(TensorSpec("logit", (1, 1)),),
            parameters=42_081,
            task="glyph_pairs",
            training=Training(epochs=15, learning_rate=2e-3),
            floor=0.8,
        ),
        # Figure 4 of the paper.
        "reference": Config(
            settings={"image_size": 105, "convs": ((64, 10), (128, 7), (128, 4), (256, 4)), "code": 4096},
            inputs=_inputs(105),
            outputs=(TensorSpec("logit", (1, 1)),),
            parameters=38_951_745,
        ),
    },
)
