"""What the samples of a training make one doubt its result for, before it begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgekit.data import mapped

if TYPE_CHECKING:
    from edgekit.data.mapped import Array
    from edgekit.data.tasks import Samples

#: How many times larger the inputs of one split may be than those of the other.
_FAR = 1000.0


def found(train: Samples, selection: Samples) -> list[str]:
    """A sentence for each."""
    return [
        *_of_labels(train.labels, "training", "whatever is learned of it says nothing of others", "nothing to tell"),
        *_of_labels(selection.labels, "selection", "it hardly says which epoch is best", "one right answer for all"),
        *_of_inputs(train, selection),
    ]


def _of_labels(labels: Array | None, split: str, alone: str, alike: str) -> Iterator[str]:
    if labels is None:
        return
    if len(labels) == 1:
        yield f"there is one {split} sample alone: {alone}"
    elif not np.issubdtype(labels.dtype, np.floating) and (labels == labels.reshape(-1)[0]).all():
        yield f"all labels of the {len(labels)} {split} samples are {labels.reshape(-1)[0]}: there is {alike}"


def _of_inputs(train: Samples, selection: Samples) -> Iterator[str]:
    """Inputs that were scaled in one split and not in the other."""
    for name, array in train.inputs.items():
        if not np.issubdtype(array.dtype, np.floating):
            continue
        ours, theirs = (_largest(one) for one in (array, selection.inputs[name]))
        if max(ours, theirs) > _FAR * min(ours, theirs):
            yield (
                f"input {name!r} is up to {ours:.3g} in the training samples, and up to {theirs:.3g} in the evaluation "
                "samples: are both scaled as the model takes them?"
            )


def _largest(array: Array) -> float:
    return max(float(np.abs(block).max()) for block in mapped.blocks(array))
