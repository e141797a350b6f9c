"""Handwritten digits, 8x8 grey: small and real, for quick tests (claims about accuracy need a larger task)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgekit.data.tasks import Samples, Split, Task
from edgekit.errors import MissingDependencyError, UsageError

#: Distributions whose versions change what is done here.
PACKAGES = ("scikit-learn",)

TASK = Task(
    title="Handwritten digits, 8x8 grey",
    metric="top1",
    classes=10,
    sizes={"train": 569, "calibration": 128, "selection": 300, "test": 800},
    source=(
        "scikit-learn's load_digits: test part of the UCI 'Optical Recognition of Handwritten Digits' "
        "(Alpaydin and Kaynak, 1998), CC BY 4.0"
    ),
)

#: Order of the 1797 samples: the file is sorted by writer, so that the splits are drawn from a fixed shuffle.
SEED = 20_11


def make(split: Split, count: int | None = None) -> Samples:
    """Read ``image`` of shape ``(count, 8, 8, 1)``, float32 in [-1, 1], and labels ``(count,)``."""
    images, labels = _shuffled()
    chosen = rows(split, count)
    return Samples({"image": images[chosen] / np.float32(8) - 1}, labels[chosen])


def rows(split: Split, count: int | None) -> slice:
    """Where the first ``count`` samples of a split lie in the shuffled whole; raises ``UsageError`` if too few."""
    size = TASK.sizes[split]
    wanted = size if count is None else count
    if not 0 <= wanted <= size:
        raise UsageError(f"{split} has {size} digits, {wanted} were asked for")
    names = list(TASK.sizes)
    start = sum(TASK.sizes[name] for name in names[: names.index(split)])
    return slice(start, start + wanted)


@cache
def _shuffled() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingDependencyError(
            "the digits come with scikit-learn, which is not installed", hint="pip install 'edgekit[data]'"
        ) from error
    found = load_digits()
    order = np.random.default_rng(SEED).permutation(len(found.target))
    return found.images[order, :, :, None].astype(np.float32), found.target[order].astype(np.int64)
