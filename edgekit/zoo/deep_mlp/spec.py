"""Facts about the deep multilayer perceptron."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training

SPEC = Architecture(
    title="Deep multilayer perceptron with BatchNorm and dropout",
    paper="Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov: Dropout: A simple way to prevent neural "
    "networks from overfitting. JMLR 15, 2014; Ioffe and Szegedy: Batch normalization. ICML 2015, arXiv:1502.03167",
    variant=(
        "each hidden layer is linear without bias, BatchNorm with epsilon 1e-5, ReLU, dropout; then linear logits. In "
        "a converted file the BatchNorms are folded and the dropout is gone: what is left are linear layers and ReLU"
    ),
    family="fundamentals",
    kind="dense",
    configs={
        # 16*96 + 2*96 + 2 * (96*96 + 2*96) + 96*8+8
        "tiny": Config(
            settings={"features": 16, "hidden": (96, 96, 96), "classes": 8, "dropout": 0.1},
            inputs=(TensorSpec("features", (1, 16)),),
            outputs=(TensorSpec("logits", (1, 8), role="classes"),),
            parameters=21_320,
            task="table",
            training=Training(epochs=25, learning_rate=4e-3),
            floor=0.75,
        ),
        # Three hidden layers of 1024 on 784 columns, section 6.1.1 of the paper, with BatchNorm in place of biases:
        # 784*1024 + 2*1024 + 2 * (1024*1024 + 2*1024) + 1024*10+10
        "reference": Config(
            settings={"features": 784, "hidden": (1024, 1024, 1024), "classes": 10, "dropout": 0.5},
            inputs=(TensorSpec("features", (1, 784)),),
            outputs=(TensorSpec("logits", (1, 10), role="classes"),),
            parameters=2_916_362,
        ),
    },
)
