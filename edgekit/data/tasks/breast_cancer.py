"""Breast cancer (Wisconsin, diagnostic): thirty measures of cell nuclei, benign or malignant. Real and small."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgekit.data.tasks import Samples, Split, Task
from edgekit.errors import MissingDependencyError, UsageError

#: Distributions whose versions change what is done here.
PACKAGES = ("scikit-learn",)

TASK = Task(
    title="Breast cancer, 30 measures, malignant (1) or benign (0)",
    metric="binary_logit",
    classes=2,
    sizes={"train": 269, "calibration": 64, "selection": 100, "test": 136},
    source=(
        "scikit-learn's load_breast_cancer: UCI 'Breast Cancer Wisconsin (Diagnostic)' (Wolberg, Mangasarian, Street "
        "and Street, 1995), CC BY 4.0"
    ),
)

SEED = 19_95


def make(split: Split, count: int | None = None) -> Samples:
    """Read ``features`` of shape ``(count, 30)``, float32, each column scaled by the train split, and labels."""
    features, labels = _shuffled()
    size = TASK.sizes[split]
    wanted = size if count is None else count
    if not 0 <= wanted <= size:
        raise UsageError(f"{split} has {size} patients, {wanted} were asked for")
    names = list(TASK.sizes)
    start = sum(TASK.sizes[name] for name in names[: names.index(split)])
    rows = slice(start, start + wanted)
    return Samples({"features": features[rows]}, labels[rows])


@cache
def _shuffled() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        raise MissingDependencyError(
            "the measures come with scikit-learn, which is not installed", hint="pip install 'edgekit[data]'"
        ) from error
    found = load_breast_cancer()
    order = np.random.default_rng(SEED).permutation(len(found.target))
    values, train = found.data[order], found.data[order][: TASK.sizes["train"]]
    scaled = (values - train.mean(axis=0)) / train.std(axis=0)
    return scaled.astype(np.float32), (found.target[order] == 0).astype(np.int64)
