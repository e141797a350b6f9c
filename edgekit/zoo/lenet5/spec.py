"""Facts about LeNet-5."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _config(widths: tuple[int, int, int, int], parameters: int, *, trained: bool) -> Config:
    return Config(
        settings={"widths": widths, "classes": 10},
        inputs=(TensorSpec("image", (1, 32, 32, 1), layout="channels_last"),),
        outputs=(TensorSpec("logits", (1, 10), role="classes"),),
        parameters=parameters,
        task="digits32" if trained else None,
        training=Training(epochs=30, batch=32, learning_rate=2e-3) if trained else None,
        floor=0.85 if trained else None,
    )


SPEC = Architecture(
    title="LeNet-5",
    paper="LeCun, Bottou, Bengio and Haffner: Gradient-based learning applied to document recognition. "
    "Proc. IEEE 86(11), 1998",
    variant=(
        "32x32 grey image; 5x5 convolutions without padding (C1, C3, C5: the last one on 5x5, so 1x1 remains), tanh "
        "after each and after F6, 2x2 average pooling with stride 2 (S2, S4). Three parts of the paper are simplified "
        "in the way that is usual today: C3 sees all maps of S2, pooling has no trained coefficients, and a linear "
        "layer of logits takes the place of the RBF units; tanh is not scaled"
    ),
    family="image classification",
    kind="convolutional",
    configs={
        # 25*8+8 + 25*8*16+16 + 25*16*64+64 + 64*48+48 + 48*10+10
        "tiny": _config((8, 16, 64, 48), 32_698, trained=True),
        # 25*6+6 + 25*6*16+16 + 25*16*120+120 + 120*84+84 + 84*10+10
        "reference": _config((6, 16, 120, 84), 61_706, trained=False),
    },
)
