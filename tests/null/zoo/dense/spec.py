"""Two dense layers."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config

SPEC = Architecture(
    title="Two dense layers",
    paper="none",
    variant="8 to 16 to 4 with a ReLU between",
    family="fundamentals",
    kind="dense",
    configs={
        "tiny": Config(
            settings={"seed": 0},
            inputs=(TensorSpec("x", (1, 8)),),
            outputs=(TensorSpec("logits", (1, 4)),),
            parameters=8 * 16 + 16 + 16 * 4 + 4,
        )
    },
)
