"""Normalisation."""

from __future__ import annotations

import numpy as np

from edgekit.reference import Array


def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float) -> Array:
    """Normalise channels by stored statistics (Ioffe & Szegedy 2015, inference).

    Args:
        x: ``(..., c)``.
        gamma: ``(c,)`` scale.
        beta: ``(c,)`` shift.
        mean: ``(c,)`` running mean.
        variance: ``(c,)`` running variance, which of it (biased or not) is the framework's affair.
        epsilon: added to the variance. PyTorch's default is 1e-5, Keras's 1e-3.
    """
    return (np.asarray(x, np.float64) - mean) / np.sqrt(variance.astype(np.float64) + epsilon) * gamma + beta


def batch_norm_vjp(
    grad: Array, x: Array, gamma: Array, mean: Array, variance: Array, *, epsilon: float
) -> tuple[Array, Array, Array]:
    """Return the gradients of x, gamma and beta; the statistics are constants."""
    inverse = 1 / np.sqrt(variance + epsilon)
    batch = tuple(range(x.ndim - 1))
    return grad * gamma * inverse, (grad * (x - mean) * inverse).sum(axis=batch), grad.sum(axis=batch)


def layer_norm(x: Array, gamma: Array, beta: Array, *, epsilon: float) -> Array:
    """Normalise each position over its channels (Ba, Kiros & Hinton 2016), with the biased variance.

    Args:
        x: ``(..., c)``.
        gamma: ``(c,)`` scale.
        beta: ``(c,)`` shift.
        epsilon: added to the variance. PyTorch's default is 1e-5, Keras's 1e-3, BERT's 1e-12.
    """
    return _standardised(x, epsilon)[0] * gamma + beta


def layer_norm_vjp(grad: Array, x: Array, gamma: Array, *, epsilon: float) -> tuple[Array, Array, Array]:
    """Return the gradients of x, gamma and beta."""
    unit, inverse = _standardised(x, epsilon)
    d_unit = grad * gamma
    along = unit * (d_unit * unit).mean(axis=-1, keepdims=True)
    d_x = inverse * (d_unit - d_unit.mean(axis=-1, keepdims=True) - along)
    batch = tuple(range(x.ndim - 1))
    return d_x, (grad * unit).sum(axis=batch), grad.sum(axis=batch)


def _standardised(x: Array, epsilon: float) -> tuple[Array, Array]:
    centred = np.asarray(x, np.float64) - np.mean(x, axis=-1, keepdims=True, dtype=np.float64)
    inverse = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return centred * inverse, inverse
