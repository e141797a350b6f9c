"""Two dense layers with one unit."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config

SPEC = Architecture(
    title="Two dense layers with one unit",
    paper="none",
    variant="8 to 16 to 1 with a ReLU between",
    family="fundamentals",
    kind="dense",
    configs={
        "tiny": Config(
            settings={"seed": 4},
            inputs=(TensorSpec("x", (1, 8)),),
            outputs=(TensorSpec("score", (1, 1)),),
            parameters=8 * 16 + 16 + 16 + 1,
        )
    },
)
