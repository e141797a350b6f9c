"""Facts about the multilayer perceptron."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _config(size: int, hidden: tuple[int, ...], parameters: int, *, trained: bool) -> Config:
    return Config(
        settings={"image_size": size, "hidden": hidden, "classes": 10},
        inputs=(TensorSpec("image", (1, size, size, 1), layout="channels_last"),),
        outputs=(TensorSpec("logits", (1, 10), role="classes"),),
        parameters=parameters,
        task="digits" if trained else None,
        training=Training(epochs=60, batch=32, learning_rate=2e-3) if trained else None,
        floor=0.85 if trained else None,
    )


SPEC = Architecture(
    title="Multilayer perceptron",
    paper="Rumelhart, Hinton and Williams: Learning representations by back-propagating errors. Nature 323, 1986",
    variant=(
        "mnist_mlp of the Keras examples: 28x28 grey image flattened, two hidden layers of 512 with ReLU, 10 logits; "
        "without its dropout, which is nothing at inference"
    ),
    family="fundamentals",
    kind="dense",
    configs={
        # 64*64+64 + 64*32+32 + 32*10+10
        "tiny": _config(8, (64, 32), 6_570, trained=True),
        # 784*512+512 + 512*512+512 + 512*10+10, the example's own count
        "reference": _config(28, (512, 512), 669_706, trained=False),
    },
)
