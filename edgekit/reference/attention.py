"""Attention (Vaswani et al. 2017)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from edgekit.reference import Array
from edgekit.reference.activation import softmax, softmax_vjp
from edgekit.reference.linear import linear, linear_vjp


def scaled_dot_product_attention(query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
    """``softmax(query key^T / sqrt(d) + mask) value``.

    Args:
        query: ``(..., t, d)``.
        key: ``(..., s, d)``.
        value: ``(..., s, v)``.
        mask: added to the scores, broadcastable to ``(..., t, s)``; about -60 where attention is forbidden.

    Returns:
        ``(..., t, v)``.
    """
    return softmax(_scores(query, key, mask)) @ np.asarray(value, np.float64)


def scaled_dot_product_attention_vjp(
    grad: Array, query: Array, key: Array, value: Array, mask: Array | None = None
) -> tuple[Array, Array, Array]:
    """Return the gradients of query, key and value."""
    scores = _scores(query, key, mask)
    d_scores = softmax_vjp(grad @ _swapped(value), scores) / math.sqrt(query.shape[-1])
    return d_scores @ key, _swapped(d_scores) @ query, _swapped(softmax(scores)) @ grad


class Projections(NamedTuple):
    """Weights of multi-head attention: kernels ``(width, width)`` and biases ``(width,)``, heads side by side."""

    query_kernel: Array
    query_bias: Array
    key_kernel: Array
    key_bias: Array
    value_kernel: Array
    value_bias: Array
    output_kernel: Array
    output_bias: Array


def multi_head_attention(
    query: Array, memory: Array, weights: Projections, *, heads: int, mask: Array | None = None
) -> Array:
    """Attend from ``query`` to ``memory`` (the same array for self-attention).

    Args:
        query: ``(n, t, width)``.
        memory: ``(n, s, width)``, where keys and values come from.
        weights: the four projections.
        heads: how many parts ``width`` falls into.
        mask: added to the scores, broadcastable to ``(n, heads, t, s)``.

    Returns:
        ``(n, t, width)``.
    """
    return linear(_mixed(query, memory, weights, heads, mask), weights.output_kernel, weights.output_bias)


def multi_head_attention_vjp(
    grad: Array, query: Array, memory: Array, weights: Projections, *, heads: int, mask: Array | None = None
) -> tuple[Array, Array, Projections]:
    """Return the gradients of query, memory and all projections."""
    d_mixed, d_output_kernel, d_output_bias = linear_vjp(
        grad, _mixed(query, memory, weights, heads, mask), weights.output_kernel
    )
    parts = scaled_dot_product_attention_vjp(_heads(d_mixed, heads), *_projected(query, memory, weights, heads), mask)
    d_query, *of_query = linear_vjp(_joined(parts[0]), query, weights.query_kernel)
    d_keys, *of_key = linear_vjp(_joined(parts[1]), memory, weights.key_kernel)
    d_values, *of_value = linear_vjp(_joined(parts[2]), memory, weights.value_kernel)
    of_output = (d_output_kernel, d_output_bias)
    return d_query, d_keys + d_values, Projections._make((*of_query, *of_key, *of_value, *of_output))


def _mixed(query: Array, memory: Array, weights: Projections, heads: int, mask: Array | None) -> Array:
    return _joined(scaled_dot_product_attention(*_projected(query, memory, weights, heads), mask))


def _projected(query: Array, memory: Array, weights: Projections, heads: int) -> tuple[Array, Array, Array]:
    return (
        _heads(linear(query, weights.query_kernel, weights.query_bias), heads),
        _heads(linear(memory, weights.key_kernel, weights.key_bias), heads),
        _heads(linear(memory, weights.value_kernel, weights.value_bias), heads),
    )


def _scores(query: Array, key: Array, mask: Array | None) -> Array:
    scores = np.asarray(query, np.float64) @ _swapped(np.asarray(key, np.float64)) / math.sqrt(query.shape[-1])
    return scores if mask is None else scores + mask


def _swapped(x: Array) -> Array:
    return np.swapaxes(x, -1, -2)


def _heads(x: Array, heads: int) -> Array:
    """``(n, t, width) -> (n, heads, t, width / heads)``."""
    n, t, width = x.shape
    return x.reshape(n, t, heads, width // heads).transpose(0, 2, 1, 3)


def _joined(x: Array) -> Array:
    """``(n, heads, t, d) -> (n, t, heads * d)``."""
    n, heads, t, d = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, t, heads * d)
