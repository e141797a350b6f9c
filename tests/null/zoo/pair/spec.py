"""Two parts of two dense layers each."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Part

X, CODE, Y = TensorSpec("x", (1, 8)), TensorSpec("code", (1, 6)), TensorSpec("y", (1, 3))

SPEC = Architecture(
    title="Encoder and decoder",
    paper="none",
    variant="8 to 16 to 6, and 6 to 16 to 3",
    family="fundamentals",
    kind="dense",
    configs={
        "tiny": Config(
            settings={"seed": 1},
            inputs=(X,),
            outputs=(Y,),
            parameters=8 * 16 + 16 + 16 * 6 + 6 + 6 * 16 + 16 + 16 * 3 + 3,
            parts={"encoder": Part((X,), (CODE,)), "decoder": Part((CODE,), (Y,))},
        )
    },
)
