"""Facts about the graph convolutional network."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _dense(nodes: int, features: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec("features", (1, nodes, features)), TensorSpec("adjacency", (1, nodes, nodes)))


SPEC = Architecture(
    title="Graph convolutional network (GCN)",
    paper="Kipf and Welling: Semi-supervised classification with graph convolutional networks. ICLR 2017, "
    "arXiv:1609.02907",
    variant=(
        "the features of all nodes times a matrix, summed over neighbours with the normalized adjacency "
        "D^-1/2 (A + I) D^-1/2, which is an input; ReLU between; logits of every node; dropout before each layer. Two "
        "layers (equation 9), or more with residuals around those between (appendix B), as the small one has: two "
        "layers reach a miou of .61 on its task, 32 wide and 256 wide alike. In the form `edges` the graph comes as a "
        "list of so many edges with a weight each, filled up with edges of weight 0: a gather and a sum by index, "
        "which is what runtimes find hard"
    ),
    family="probes",
    kind="dense",
    configs={
        # 8*48+48 + 8*(48*48+48) + 48*3+3
        "tiny": Config(
            settings={"nodes": 24, "features": 8, "hidden": 48, "depth": 10, "classes": 3, "dropout": 0.0, "edges": 0},
            inputs=_dense(24, 8),
            outputs=(TensorSpec("logits", (1, 24, 3), role="classes"),),
            parameters=19_395,
            task="communities",
            training=Training(epochs=60, batch=32, learning_rate=4e-3),
            floor=0.7,
        ),
        # The same weights; 24 nodes have 24 * 24 edges at most, both directions and loops counted.
        "edges": Config(
            settings={
                "nodes": 24, "features": 8, "hidden": 48, "depth": 10, "classes": 3, "dropout": 0.0, "edges": 256
            },
            inputs=(
                TensorSpec("features", (1, 24, 8)),
                TensorSpec("source", (1, 256), dtype="int32"),
                TensorSpec("target", (1, 256), dtype="int32"),
                TensorSpec("weight", (1, 256)),
            ),
            outputs=(TensorSpec("logits", (1, 24, 3), role="classes"),),
            parameters=19_395,
        ),
        # Cora, section 5.1 of the paper: 1433*16+16 + 16*7+7
        "reference": Config(
            settings={
                "nodes": 2708, "features": 1433, "hidden": 16, "depth": 2, "classes": 7, "dropout": 0.5, "edges": 0
            },
            inputs=_dense(2708, 1433),
            outputs=(TensorSpec("logits", (1, 2708, 7), role="classes"),),
            parameters=23_063,
        ),
    },
)  # fmt: skip
