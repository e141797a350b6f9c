"""One dense layer, twice: recurrent."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config

SPEC = Architecture(
    title="One dense layer, twice",
    paper="none",
    variant="8 to 8 to 8 with a ReLU between and the same weights",
    family="fundamentals",
    kind="recurrent",
    configs={
        "tiny": Config(
            settings={"seed": 2, "hidden": 8, "same": True},
            inputs=(TensorSpec("x", (1, 8)),),
            outputs=(TensorSpec("y", (1, 8)),),
            parameters=8 * 8 + 8,
        )
    },
)
