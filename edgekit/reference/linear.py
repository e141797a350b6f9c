"""Linear layers and embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.reference import Array


def linear(x: Array, kernel: Array, bias: Array | None = None) -> Array:
    """``x @ kernel + bias``, ``(..., c_in) -> (..., c_out)``; ``kernel`` is ``(c_in, c_out)``, as in Keras."""
    out: Array = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    return out if bias is None else out + bias


def linear_vjp(grad: Array, x: Array, kernel: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of x, kernel and bias."""
    rows, grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
    return grad @ kernel.T, rows.T @ grads, grads.sum(axis=0)


def embedding(table: Array, indices: NDArray[np.integer]) -> Array:
    """Return rows of the table, ``(vocabulary, width)`` and ``(...)`` integers -> ``(..., width)``."""
    rows: Array = np.asarray(table, np.float64)[indices]
    return rows


def embedding_vjp(grad: Array, table: Array, indices: NDArray[np.integer]) -> Array:
    """Return the gradient of the table; a row that is used twice gets both shares."""
    d_table = np.zeros_like(table, dtype=np.float64)
    np.add.at(d_table, indices, grad)
    return d_table
