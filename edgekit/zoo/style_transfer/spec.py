"""Facts about feed-forward style transfer."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _image(name: str, size: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec(name, (1, size, size, 3), layout="channels_last"),)


SPEC = Architecture(
    title="Feed-forward style transfer",
    paper="Johnson, Alahi and Fei-Fei: Perceptual losses for real-time style transfer and super-resolution. ECCV 2016, "
    "arXiv:1603.08155",
    variant=(
        "the example fast_neural_style of PyTorch: instance norm with epsilon 1e-5 (Ulyanov, Vedaldi and Lempitsky, "
        "arXiv:1607.08022; the paper: BatchNorm), a convolution behind nearest-neighbour upsampling (the paper: "
        "convolutions of stride 1/2, which are transposed ones), and edges reflected before every convolution, each of "
        "which has biases; no ReLU behind the addition of a residual block. At the end a tanh, as in the paper, into "
        "the range of the input. One network knows one style. It is trained by perceptual losses on colours and ReLUs "
        "of this zoo's own ResNet, trained here on colour and texture, contents in grey (the paper: VGG-16, ImageNet)"
    ),
    family="face and style",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 48, "widths": (8, 16, 24), "residuals": 3, "kernel": 9},
            inputs=_image("image", 48),
            outputs=_image("stylized", 48),
            parameters=44_859,
            task="stylized",
            training=Training(epochs=5, batch=8, learning_rate=4e-3),
            floor=0.5,
        ),
        # A convolution from v to w channels with a kernel of k has kkvw + w parameters, the norm behind it 2w:
        #   down       3 -> 32 (k = 9), 32 -> 64, 64 -> 128   7,872 + 18,624 + 74,112
        #   residual   two of 128 -> 128, five times          5 * 2 * 147,840
        #   up         128 -> 64 -> 32                        73,920 + 18,528
        #   stylized   32 -> 3 (k = 9, no norm)               7,779
        # The paper has no sum; it is that of PyTorch's example.
        "reference": Config(
            settings={"image_size": 256, "widths": (32, 64, 128), "residuals": 5, "kernel": 9},
            inputs=_image("image", 256),
            outputs=_image("stylized", 256),
            parameters=1_679_235,
        ),
    },
)
