"""Facts about the detection transformer, and the positions that both implementations add."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def positions(side: int, width: int) -> NDArray[np.float32]:
    """Sines and cosines of row and column ``(side * side, width)``, rows first (section A.4 of the paper).

    Places are counted from 1 and scaled to ``2 pi``; the angles' wavelengths go from ``2 pi`` to ``20000 pi``.
    """
    import numpy as np

    half = width // 2
    at = (np.arange(side) + 1) / (side + 1e-6) * 2 * math.pi
    angles = at[:, None] / 10_000 ** (2 * (np.arange(half) // 2) / half)
    each = np.stack([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=2).reshape(side, half)
    row, column = np.broadcast_arrays(each[:, None], each[None, :])
    return np.concatenate([row, column], axis=2).reshape(side * side, width).astype(np.float32)


def _outputs(queries: int, classes: int) -> tuple[TensorSpec, ...]:
    return (
        TensorSpec("boxes", (1, queries, 4), channels=(2,)),
        TensorSpec("scores", (1, queries, classes + 1), channels=(2,)),
    )


SPEC = Architecture(
    title="Detection transformer (DETR)",
    paper="Carion, Massa, Synnaeve, Usunier, Kirillov and Zagoruyko: End-to-end object detection with transformers. "
    "ECCV 2020, arXiv:2005.12872",
    variant=(
        "DETR-R50 as the authors': ResNet v1.5, a 1x1 convolution, six encoder and six decoder layers with norms "
        "behind the sums, sine positions added to queries and keys of each attention, learned queries, a linear head "
        "of logits with no object last and three linear layers for boxes. The boxes are logits of centre and size: "
        "their sigmoid is taken outside of the graph in float. No suppression is needed. BatchNorms are trained here; "
        "the authors froze them. Attention over a map is the cost, softmax and LayerNorm are what integers find hard"
    ),
    family="detection",
    kind="attention",
    configs={
        "tiny": Config(
            settings={
                "image_size": 64, "classes": 3, "kind": "basic", "depths": (1, 1, 1), "widths": (16, 24, 48),
                "stem": 16, "stem_kernel": 3, "stem_stride": 1, "width": 48, "heads": 4, "inner": 96, "encoder": 1,
                "decoder": 2, "queries": 10, "dropout": 0.0,
            },
            inputs=(TensorSpec("image", (1, 64, 64, 3), layout="channels_last"),),
            outputs=_outputs(10, 3),
            parameters=130_760,
            task="street_queries",
            training=Training(epochs=50, batch=32, learning_rate=1.5e-3),
            floor=0.3,
        ),
        # 41,302,368 that the authors train, 222,400 in the stem and first stage that they do not, 53,120 of the norms.
        # 91 is the largest number of a class of COCO.
        "reference": Config(
            settings={
                "image_size": 800, "classes": 91, "kind": "bottleneck", "depths": (3, 4, 6, 3),
                "widths": (256, 512, 1024, 2048), "stem": 64, "stem_kernel": 7, "stem_stride": 2, "width": 256,
                "heads": 8, "inner": 2048, "encoder": 6, "decoder": 6, "queries": 100, "dropout": 0.1,
            },
            inputs=(TensorSpec("image", (1, 800, 800, 3), layout="channels_last"),),
            outputs=_outputs(100, 91),
            parameters=41_577_888,
        ),
    },
)  # fmt: skip
