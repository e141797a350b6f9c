"""Cutting: the weights of a model without some of its channels, and the wide model as it computes without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgekit.compress.channels.walk import Tensor, Walk
from edgekit.frameworks import LoadedModel
from edgekit.frameworks.trainable import saved

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


def cut(model: LoadedModel, walk: Walk, removed: Collection[int]) -> list[NDArray[Any]]:
    """All weights of a model without some channels, in the order in which ``frameworks`` saves them."""
    indices = {place: keep for place, _, keep in _cuts(walk, removed)}
    found = []
    for tensor in saved(model):
        values = tensor.detach().cpu().numpy()
        keep = indices.get(tensor.data_ptr()) if tensor.numel() else None
        fits = keep is not None and all(axis.size <= n for axis, n in zip(keep, values.shape, strict=False))
        found.append(values[np.ix_(*keep)].copy() if keep is not None and fits else values.copy())
    return found


def silence(walk: Walk, removed: Collection[int]) -> None:
    """Set all weights of channels that go to 0, in place: the model computes what it will without them."""
    with torch.no_grad():
        for _, tensor, keep in _cuts(walk, removed):
            for axis, left in enumerate(keep):
                gone = np.setdiff1d(np.arange(tensor.own.shape[axis]), left)
                tensor.own.data.index_fill_(axis, torch.from_numpy(gone), 0)


def _cuts(walk: Walk, removed: Collection[int]) -> Iterator[tuple[int, Tensor, list[NDArray[np.int64]]]]:
    """The tensors that become smaller: where each lies, and of each axis the indices that are left."""
    gone = np.array(sorted(removed), np.int64)
    for place, tensor in walk.tensors.items():
        keep = [np.flatnonzero(~np.isin(walk.labels.roots(axis), gone)) for axis in tensor.axes]
        if any(len(left) < n for left, n in zip(keep, tensor.own.shape, strict=True)):
            yield place, tensor, keep
