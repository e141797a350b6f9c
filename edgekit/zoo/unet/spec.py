"""Facts about U-Net."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="U-Net",
    paper="Ronneberger, Fischer and Brox: U-Net: Convolutional networks for biomedical image segmentation. "
    "MICCAI 2015, arXiv:1505.04597",
    variant=(
        "3x3 convolutions padded with one zero on each side (the paper: unpadded, so that the output was smaller than "
        "the input and the skips were cropped), each without bias and followed by BatchNorm with epsilon 1e-5 (not in "
        "the paper) and ReLU; 2x2 max pooling; 2x2 transposed convolution with stride 2 and bias on the way up; skip "
        "before upsampled in the concatenation; 1x1 convolution to the logits; no dropout"
    ),
    family="segmentation",
    kind="convolutional",
    configs={
        "tiny": Config(
            settings={"image_size": 32, "channels": 3, "classes": 6, "widths": (8, 16, 32, 64)},
            inputs=(TensorSpec("image", (1, 32, 32, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 32, 32, 6), layout="channels_last", role="classes"),),
            parameters=121_222,
            task="texture_segments",
            training=Training(epochs=12, batch=32, learning_rate=4e-3),
            floor=0.85,
        ),
        # Where one can drive, on images of twice the side and with a narrower bottom.
        "street": Config(
            settings={"image_size": 64, "channels": 3, "classes": 3, "widths": (8, 16, 24, 32)},
            inputs=(TensorSpec("image", (1, 64, 64, 3), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 64, 64, 3), layout="channels_last", role="classes"),),
            parameters=58_915,
            task="street_area",
            training=Training(epochs=8, batch=32, learning_rate=4e-3),
            floor=0.8,
        ),
        # A double convolution from v to w channels has 9vw + 9ww + 4w parameters (two BatchNorms), an upsampling
        # from 2w to w has 8ww + w:
        #   down  1 -> 64 -> 128 -> 256 -> 512 -> 1024   37,696 + 221,696 + 885,760 + 3,540,992 + 14,159,872
        #   up    64, 128, 256, 512                      32,832 + 131,200 + 524,544 + 2,097,664
        #   merge 128 -> 64, ..., 1024 -> 512            110,848 + 442,880 + 1,770,496 + 7,079,936
        #   logits                                       64 * 2 + 2
        "reference": Config(
            settings={"image_size": 256, "channels": 1, "classes": 2, "widths": (64, 128, 256, 512, 1024)},
            inputs=(TensorSpec("image", (1, 256, 256, 1), layout="channels_last"),),
            outputs=(TensorSpec("logits", (1, 256, 256, 2), layout="channels_last", role="classes"),),
            parameters=31_036_546,
        ),
    },
)
