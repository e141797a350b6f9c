"""Two dense layers over the rows of a table: its first axis is no batch."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config

SPEC = Architecture(
    title="Two dense layers over a table",
    paper="none",
    variant="8 to 16 to 4 with a ReLU between, for each of 6 rows",
    family="fundamentals",
    kind="dense",
    configs={
        "tiny": Config(
            settings={"seed": 3},
            inputs=(TensorSpec("x", (6, 8)),),
            outputs=(TensorSpec("logits", (6, 4)),),
            parameters=8 * 16 + 16 + 16 * 4 + 4,
        )
    },
)
