"""Metrics of embeddings: whether samples of one class lie next to each other."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import UsageError
from edgekit.proof.intervals import OfMeans
from edgekit.proof.metrics.metric import Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Floats = NDArray[np.float64]
    Shape = tuple[int, ...]

#: Cosines of two pairs that differ by less are taken for equal: they are sums of other orders.
_ROUNDING = 1e-9
#: Queries that are compared with all others at a time.
_QUERIES = 256


def _embedding(outputs: Mapping[str, Array], labels: Array) -> Array:
    found = next(iter(outputs.values()))
    return found.reshape(len(found), -1)


def _check(name: str, labels: Array, shape: Shape) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise UsageError(
            f"{name} needs one class number per sample; labels are {labels.dtype} of shape {labels.shape}",
            hint="Number the classes, in any way: samples of one class have the same label.",
        )


def _check_pairs(name: str, labels: Array) -> None:
    if len(np.unique(labels)) == len(labels):
        raise UsageError(f"{name} looks for samples of the same class, and no class has two")


def _rows(labels: Array, embeddings: Array) -> Floats:
    return np.concatenate([labels.astype(np.float64)[:, None], embeddings.astype(np.float64)], axis=1)


def _found(k: int, rows: Floats) -> Floats:
    """Whether one of the ``k`` embeddings nearest to a sample's own is of its class: recall@k.

    Each sample is a query to all others; nearest is the largest cosine (Jegou et al. 2011, Product quantization for
    nearest neighbor search; as a figure of embeddings Oh Song et al. 2016, arXiv 1511.06452, section 5). Ties count
    against it, so that a constant answer finds nothing, as does one that is not finite. The others stay the same for
    every query that is resampled: the interval is that of queries to this collection.
    """
    labels, vectors = rows[:, 0], rows[:, 1:]
    vectors = np.where(np.isfinite(vectors).all(axis=1, keepdims=True), vectors, 0.0)
    size = np.abs(vectors).max(axis=1, keepdims=True)
    vectors = vectors / np.where(size > 0, size, 1.0)  # a square of a large number would be infinite
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors / np.where(norm > 0, norm, 1.0)
    hits = []
    for start in range(0, len(rows), _QUERIES):
        queries = slice(start, start + _QUERIES)
        near = vectors[queries] @ vectors.T
        near[np.arange(len(near)), np.arange(len(near)) + start] = -np.inf
        same = labels[queries, None] == labels
        best = np.where(same, near, -np.inf).max(axis=1, keepdims=True)
        nearer = (~same & (near >= best - _ROUNDING)).sum(axis=1)
        hits.append((nearer < k) & np.isfinite(best[:, 0]) & (norm[queries, 0] > 0))
    return np.concatenate(hits).astype(np.float64)[:, None]


def _commonest(k: int, labels: Array, shape: Shape, inputs: Callable[[], Mapping[str, Array]]) -> Floats:
    """The same answer to all queries: a sample of each of the ``k`` commonest classes."""
    classes, counts = np.unique(labels, return_counts=True)
    return np.asarray(np.isin(labels, classes[np.argsort(-counts, kind="stable")[:k]]), np.float64)[:, None]


def _first(means: Floats) -> Floats:
    return means[..., 0]


def _recall(k: int) -> Metric:
    name, nearest = f"recall@{k}", "the nearest embedding is" if k == 1 else f"one of the {k} nearest embeddings is"
    return Metric(
        name, f"an embedding: {nearest} of the same class", True, "top1", labels="class numbers", binary=True,
        bounded=True, check=functools.partial(_check, name), check_set=functools.partial(_check_pairs, name),
        contributions=_rows, among=functools.partial(_found, k), trivial=functools.partial(_commonest, k),
        statistic=functools.partial(OfMeans, function=_first), read=_embedding, decisions=None,
    )  # fmt: skip


RECALL_AT_1 = _recall(1)
RECALL_AT_5 = _recall(5)
RECALL_AT_10 = _recall(10)
