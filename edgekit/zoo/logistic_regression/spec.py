"""Facts about logistic regression."""

from edgekit.signature import TensorSpec
from edgekit.zoo import Architecture, Config, Training


def _config(features: int, task: str, training: Training, floor: float) -> Config:
    return Config(
        settings={"features": features},
        inputs=(TensorSpec("features", (1, features)),),
        outputs=(TensorSpec("logit", (1, 1)),),
        parameters=features + 1,
        task=task,
        training=training,
        floor=floor,
    )


SPEC = Architecture(
    title="Logistic regression",
    paper="Cox: The regression analysis of binary sequences. J. Royal Statistical Society B 20(2), 1958",
    variant=(
        "one linear unit; its output is the log-odds, without the sigmoid, so that an int8 file keeps its resolution "
        "where the probability is near 0 or 1. The smallest model that is deployed: overhead of a runtime shows here"
    ),
    family="fundamentals",
    kind="dense",
    configs={
        "tiny": _config(20, "binary_table", Training(epochs=20, learning_rate=2e-2), 0.8),
        "reference": _config(30, "breast_cancer", Training(epochs=150, batch=32, learning_rate=1e-2), 0.92),
    },
)
