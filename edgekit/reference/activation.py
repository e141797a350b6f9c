"""Activations. Those that work on each value alone have ``f_slope(x)``, their derivative."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit, ndtr

from edgekit.reference import Array

_TANH_GELU_SCALE = math.sqrt(2 / math.pi)
_TANH_GELU_CUBIC = 0.044715


def relu(x: Array) -> Array:
    """``max(x, 0)``."""
    return np.maximum(np.asarray(x, np.float64), 0.0)


def relu_slope(x: Array) -> Array:
    """1 above zero, 0 elsewhere."""
    return np.where(x > 0, 1.0, 0.0)


def relu6(x: Array) -> Array:
    """``min(max(x, 0), 6)``."""
    return np.clip(np.asarray(x, np.float64), 0.0, 6.0)


def relu6_slope(x: Array) -> Array:
    """1 between 0 and 6, 0 elsewhere."""
    return np.where((x > 0) & (x < 6), 1.0, 0.0)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``."""
    return np.asarray(expit(np.asarray(x, np.float64)))


def sigmoid_slope(x: Array) -> Array:
    """``s (1 - s)``."""
    s = sigmoid(x)
    return s * (1 - s)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    t: Array = np.tanh(np.asarray(x, np.float64))
    return t


def tanh_slope(x: Array) -> Array:
    """``1 - tanh(x)^2``."""
    return 1 - np.square(tanh(x))


def silu(x: Array) -> Array:
    """``x sigmoid(x)`` (Elfwing, Uchibe & Doya 2017), also called swish."""
    return x * sigmoid(x)


def silu_slope(x: Array) -> Array:
    """``s + x s (1 - s)``."""
    return sigmoid(x) + x * sigmoid_slope(x)


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))``."""
    return np.logaddexp(np.asarray(x, np.float64), 0.0)


def softplus_slope(x: Array) -> Array:
    """Return the logistic function."""
    return sigmoid(x)


def gelu(x: Array) -> Array:
    """``x Phi(x)`` with the exact normal distribution function (Hendrycks & Gimpel 2016)."""
    return x * _normal_cdf(x)


def gelu_slope(x: Array) -> Array:
    """``Phi(x) + x phi(x)``."""
    return _normal_cdf(x) + x * np.exp(-0.5 * np.square(x)) / math.sqrt(2 * math.pi)


def gelu_tanh(x: Array) -> Array:
    """Approximate ``gelu`` by tanh, as the paper does and GPT-2 was trained; they differ by up to 5e-4."""
    return 0.5 * x * (1 + tanh(_tanh_gelu_argument(x)))


def gelu_tanh_slope(x: Array) -> Array:
    """Product and chain rule of ``gelu_tanh``."""
    argument = _tanh_gelu_argument(x)
    inner = _TANH_GELU_SCALE * (1 + 3 * _TANH_GELU_CUBIC * np.square(x))
    return 0.5 * (1 + tanh(argument)) + 0.5 * x * tanh_slope(argument) * inner


def softmax(x: Array, *, axis: int = -1) -> Array:
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    return np.exp(log_softmax(x, axis=axis))


def softmax_vjp(grad: Array, x: Array, *, axis: int = -1) -> Array:
    """``p (grad - sum(grad p))``."""
    p = softmax(x, axis=axis)
    mean: Array = np.sum(grad * p, axis=axis, keepdims=True)
    return p * (grad - mean)


def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """``x - log(sum(exp(x)))`` along ``axis``."""
    shifted: Array = np.asarray(x, np.float64) - np.max(x, axis=axis, keepdims=True)
    total: Array = np.sum(np.exp(shifted), axis=axis, keepdims=True)
    return shifted - np.log(total)


def log_softmax_vjp(grad: Array, x: Array, *, axis: int = -1) -> Array:
    """``grad - p sum(grad)``."""
    total: Array = np.sum(grad, axis=axis, keepdims=True)
    return grad - softmax(x, axis=axis) * total


def _normal_cdf(x: Array) -> Array:
    return np.asarray(ndtr(np.asarray(x, np.float64)))


def _tanh_gelu_argument(x: Array) -> Array:
    return _TANH_GELU_SCALE * (x + _TANH_GELU_CUBIC * np.power(np.asarray(x, np.float64), 3))
