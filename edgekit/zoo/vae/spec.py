"""Facts about the variational autoencoder."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _outputs(size: int, code: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec("pixels", (1, size * size)),
        TensorSpec("mean", (1, code)),
        TensorSpec("log_variance", (1, code)),
    )


SPEC = Architecture(
    title="Variational autoencoder (VAE)",
    paper="Kingma and Welling: Auto-encoding variational Bayes. ICLR 2014, arXiv:1312.6114",
    variant=(
        "the example of PyTorch: one hidden layer with ReLU on each side, sigmoid at the end. In training the code is "
        "drawn from its distribution; what is deployed takes the mean, so that the same image gives the same answer: a "
        "random generator inside a converted file would be another in every runtime"
    ),
    family="probes",
    kind="dense",
    configs={
        # 784*64+64 + 2*(64*10+10) + 10*64+64 + 64*784+784
        "tiny": Config(
            settings={"image_size": 28, "hidden": 64, "code": 10},
            inputs=(TensorSpec("image", (1, 28, 28, 1), layout="channels_last"),),
            outputs=_outputs(28, 10),
            parameters=103204,
            task="glyphs_again",
            training=Training(epochs=60, learning_rate=3e-3),
            floor=0.5,
        ),
        "reference": Config(
            settings={"image_size": 28, "hidden": 400, "code": 20},
            inputs=(TensorSpec("image", (1, 28, 28, 1), layout="channels_last"),),
            outputs=_outputs(28, 20),
            parameters=652_824,
        ),
    },
)
