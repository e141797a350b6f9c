"""Operators on each value alone: arithmetic, comparison, activations, casts.

Every module ``ops_*`` has functions named as the operator (a trailing ``_`` where Python has that name), whose
parameters are the operator's inputs by name. float16 values come in as float32 and the program rounds the result, so
that an operator is exact in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]

_CASTS = {
    "fp16": np.float16, "fp32": np.float32, "fp64": np.float64, "bool": np.bool_, "int8": np.int8, "uint8": np.uint8,
    "int16": np.int16, "uint16": np.uint16, "int32": np.int32, "uint32": np.uint32, "int64": np.int64,
}  # fmt: skip


def _binary(function: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    def operator(*, x: Array, y: Array) -> Array:
        return function(x, y)

    return operator


def _unary(function: Callable[[Array], Array]) -> Callable[..., Array]:
    def operator(*, x: Array) -> Array:
        return function(x)

    return operator


def _divide(x: Array, y: Array) -> Array:
    """Integers divide rounding towards zero (``real_div`` in the specification)."""
    if np.issubdtype(np.result_type(x, y), np.integer):
        return np.trunc(np.divide(x, y, dtype=np.float64))
    return np.divide(x, y)


def _integer_power(x: Array, y: Array) -> Array:
    return np.power(x, y) if np.issubdtype(x.dtype, np.floating) else np.power(x.astype(np.float64), y)


#: Operator -> function, for those that NumPy or SciPy have as they are.
TABLE: dict[str, Callable[..., Array]] = {
    "add": _binary(np.add),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "real_div": _binary(_divide),
    "floor_div": _binary(np.floor_divide),
    "mod": _binary(np.mod),
    "pow": _binary(_integer_power),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "equal": _binary(np.equal),
    "not_equal": _binary(np.not_equal),
    "less": _binary(np.less),
    "less_equal": _binary(np.less_equal),
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "logical_and": _binary(np.logical_and),
    "logical_or": _binary(np.logical_or),
    "logical_xor": _binary(np.logical_xor),
    "logical_not": _unary(np.logical_not),
    "abs": _unary(np.abs),
    "sign": _unary(np.sign),
    "ceil": _unary(np.ceil),
    "floor": _unary(np.floor),
    "round": _unary(np.rint),
    "exp": _unary(np.exp),
    "exp2": _unary(np.exp2),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "sin": _unary(np.sin),
    "cos": _unary(np.cos),
    "tan": _unary(np.tan),
    "asin": _unary(np.arcsin),
    "acos": _unary(np.arccos),
    "atan": _unary(np.arctan),
    "sinh": _unary(np.sinh),
    "cosh": _unary(np.cosh),
    "atanh": _unary(np.arctanh),
    "tanh": _unary(np.tanh),
    "erf": _unary(special.erf),
    "sigmoid": _unary(special.expit),
    "relu": _unary(lambda x: np.maximum(x, 0)),
    "relu6": _unary(lambda x: np.clip(x, 0, 6)),
    "silu": _unary(lambda x: x * special.expit(x)),
    "softsign": _unary(lambda x: x / (1 + np.abs(x))),
    "softplus": _unary(lambda x: np.logaddexp(x, np.float32(0))),
    "identity": _unary(lambda x: x),
}


def rsqrt(*, x: Array, epsilon: Array | float = 1e-12) -> Array:
    """``1 / sqrt(x + epsilon)``."""
    return 1 / np.sqrt(x + np.float32(epsilon))


def inverse(*, x: Array, epsilon: Array | float = 1e-4) -> Array:
    """``1 / (x + epsilon)``."""
    return 1 / (x + np.float32(epsilon))


def log(*, x: Array, epsilon: Array | float = 1e-45) -> Array:
    """``log(x + epsilon)``."""
    return np.log(x + np.float32(epsilon))


def clip(*, x: Array, alpha: Array | float = -np.inf, beta: Array | float = np.inf) -> Array:
    """Limit to ``[alpha, beta]``."""
    return np.clip(x, np.float32(alpha), np.float32(beta))


def threshold(*, x: Array, alpha: Array) -> Array:
    """``max(x, alpha)``."""
    return np.maximum(x, alpha)


def cast(*, x: Array, dtype: str) -> Array:
    """Convert; float to integer rounds towards zero."""
    if dtype not in _CASTS:
        raise ValueError(f"cast to {dtype!r}; known: {', '.join(_CASTS)}")
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(_CASTS[dtype])


def gelu(*, x: Array, mode: str = "EXACT") -> Array:
    """Exact, or with one of the two published approximations."""
    if mode == "EXACT":
        return x * special.ndtr(x)
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * special.expit(np.float32(1.702) * x)
    raise ValueError(f"gelu mode {mode!r}")


def leaky_relu(*, x: Array, alpha: Array | float = 0.01) -> Array:
    """``x`` where it is at least 0, ``alpha x`` elsewhere."""
    return np.where(x >= 0, x, np.float32(alpha) * x)


def elu(*, x: Array, alpha: Array | float = 1.0) -> Array:
    """``x`` above 0, ``alpha (exp(x) - 1)`` elsewhere."""
    return np.where(x > 0, x, np.float32(alpha) * np.expm1(np.minimum(x, 0)))


def prelu(*, x: Array, alpha: Array) -> Array:
    """Like ``leaky_relu``, with one slope per channel (axis 1)."""
    return np.where(x >= 0, x, alpha.reshape([1, -1] + [1] * (x.ndim - 2)) * x)


def sigmoid_hard(*, x: Array, alpha: Array | float = 0.2, beta: Array | float = 0.5) -> Array:
    """``min(max(alpha x + beta, 0), 1)``."""
    return np.clip(np.float32(alpha) * x + np.float32(beta), 0, 1)


def scaled_tanh(*, x: Array, alpha: Array | float = 1.0, beta: Array | float = 1.0) -> Array:
    """``alpha tanh(beta x)``."""
    return np.float32(alpha) * np.tanh(np.float32(beta) * x)


def linear_activation(*, x: Array, alpha: Array, beta: Array | float = 0.0) -> Array:
    """``alpha x + beta``."""
    return alpha * x + np.float32(beta)


def clamped_relu(*, x: Array, alpha: Array, beta: Array) -> Array:
    """``min(leaky_relu(x, alpha), beta)``."""
    return np.minimum(beta, np.where(x >= 0, x, alpha * x))


def thresholded_relu(*, x: Array, alpha: Array | float = 1.0) -> Array:
    """``x`` where it is at least ``alpha``, 0 elsewhere."""
    return np.where(x >= np.float32(alpha), x, 0)


def select(*, cond: Array, a: Array, b: Array) -> Array:
    """``a`` where ``cond``, else ``b``."""
    return np.where(cond, a, b)
