"""Recurrent cells and sequences, ``(n, t, c)``.

Gate order in kernels and biases: LSTM input, forget, candidate, output (Keras and PyTorch alike); GRU reset, update,
candidate (PyTorch; Keras stores update before reset).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgekit.reference import Array
from edgekit.reference.activation import sigmoid, tanh


class LSTMWeights(NamedTuple):
    """``kernel`` (c, 4 u), ``recurrent`` (u, 4 u), ``bias`` (4 u); PyTorch's two biases are added up."""

    kernel: Array
    recurrent: Array
    bias: Array


class GRUWeights(NamedTuple):
    """``kernel`` (c, 3 u), ``recurrent`` (u, 3 u), ``bias`` (3 u), ``recurrent_bias`` (3 u).

    The reset gate is applied after the recurrent product (PyTorch; Keras with ``reset_after=True``), which is why the
    candidate's recurrent bias cannot be merged into ``bias``.
    """

    kernel: Array
    recurrent: Array
    bias: Array
    recurrent_bias: Array


def lstm_cell(x: Array, hidden: Array, cell: Array, weights: LSTMWeights) -> tuple[Array, Array]:
    """One step (Hochreiter & Schmidhuber 1997, with Gers' forget gate).

    Args:
        x: ``(n, c)``.
        hidden: ``(n, u)``, the last output.
        cell: ``(n, u)``.
        weights: see ``LSTMWeights``.

    Returns:
        ``(hidden, cell)`` after the step.
    """
    i, f, g, o = _lstm_gates(x, hidden, weights)
    after = f * cell + i * g
    return o * tanh(after), after


def lstm_cell_vjp(
    grads: tuple[Array, Array], x: Array, hidden: Array, cell: Array, weights: LSTMWeights
) -> tuple[Array, Array, Array, LSTMWeights]:
    """Return the gradients of x, hidden, cell and weights from those of the new (hidden, cell)."""
    d_hidden, d_cell = grads
    i, f, g, o = _lstm_gates(x, hidden, weights)
    squashed = tanh(f * cell + i * g)
    d_after = d_cell + d_hidden * o * (1 - squashed**2)
    gates = (
        d_after * g * i * (1 - i),
        d_after * cell * f * (1 - f),
        d_after * i * (1 - g**2),
        d_hidden * squashed * o * (1 - o),
    )
    d_sum = np.concatenate(gates, axis=1)
    d_weights = LSTMWeights(x.T @ d_sum, hidden.T @ d_sum, d_sum.sum(axis=0))
    return d_sum @ weights.kernel.T, d_sum @ weights.recurrent.T, d_after * f, d_weights


def lstm(x: Array, weights: LSTMWeights, *, reverse: bool = False) -> Array:
    """Run over a sequence from zero states.

    Args:
        x: ``(n, t, c)``.
        weights: see ``LSTMWeights``.
        reverse: start at the last step. Outputs stay in the input's order, as PyTorch gives them; Keras's
            ``go_backwards`` gives them in the order of computation.

    Returns:
        ``(n, t, u)``, the output of every step.
    """
    hidden = cell = np.zeros((len(x), weights.recurrent.shape[0]))
    outputs = np.zeros((*x.shape[:2], hidden.shape[1]))
    for t in _steps(x.shape[1], reverse=reverse):
        hidden, cell = lstm_cell(x[:, t], hidden, cell, weights)
        outputs[:, t] = hidden
    return outputs


def lstm_vjp(grad: Array, x: Array, weights: LSTMWeights, *, reverse: bool = False) -> tuple[Array, LSTMWeights]:
    """Return the gradients of x and weights by backpropagation through time."""
    steps = _steps(x.shape[1], reverse=reverse)
    hidden = cell = np.zeros((len(x), weights.recurrent.shape[0]))
    before = []
    for t in steps:
        before.append((hidden, cell))
        hidden, cell = lstm_cell(x[:, t], hidden, cell, weights)
    d_x, total = np.zeros_like(x, dtype=np.float64), LSTMWeights(*(np.zeros(w.shape) for w in weights))
    d_hidden = d_cell = np.zeros_like(hidden)
    for t, (h, c) in zip(reversed(steps), reversed(before), strict=True):
        d_x[:, t], d_hidden, d_cell, step = lstm_cell_vjp((d_hidden + grad[:, t], d_cell), x[:, t], h, c, weights)
        total = LSTMWeights(*(a + b for a, b in zip(total, step, strict=True)))
    return d_x, total


def bidirectional_lstm(x: Array, forward: LSTMWeights, backward: LSTMWeights) -> Array:
    """Run both ways (Schuster & Paliwal 1997), ``(n, t, c) -> (n, t, 2 u)``: forward outputs, then backward ones.

    What a Keras ``Bidirectional`` without ``return_sequences`` gives is ``[:, -1, :u]`` beside ``[:, 0, u:]``.
    """
    return np.concatenate([lstm(x, forward), lstm(x, backward, reverse=True)], axis=2)


def gru_cell(x: Array, hidden: Array, weights: GRUWeights) -> Array:
    """One step (Cho et al. 2014), ``(n, c)`` and ``(n, u)`` -> ``(n, u)``."""
    _, z, g, _ = _gru_gates(x, hidden, weights)
    return (1 - z) * g + z * hidden


def gru_cell_vjp(grad: Array, x: Array, hidden: Array, weights: GRUWeights) -> tuple[Array, Array, GRUWeights]:
    """Return the gradients of x, hidden and weights."""
    r, z, g, recalled = _gru_gates(x, hidden, weights)
    d_candidate = grad * (1 - z) * (1 - g**2)
    d_reset = d_candidate * recalled * r * (1 - r)
    d_update = grad * (hidden - g) * z * (1 - z)
    d_input = np.concatenate([d_reset, d_update, d_candidate], axis=1)
    d_recurrent = np.concatenate([d_reset, d_update, d_candidate * r], axis=1)
    d_weights = GRUWeights(x.T @ d_input, hidden.T @ d_recurrent, d_input.sum(axis=0), d_recurrent.sum(axis=0))
    return d_input @ weights.kernel.T, grad * z + d_recurrent @ weights.recurrent.T, d_weights


def gru(x: Array, weights: GRUWeights, *, reverse: bool = False) -> Array:
    """Run over a sequence from a zero state, ``(n, t, c) -> (n, t, u)``; ``reverse`` as in ``lstm``."""
    hidden = np.zeros((len(x), weights.recurrent.shape[0]))
    outputs = np.zeros((*x.shape[:2], hidden.shape[1]))
    for t in _steps(x.shape[1], reverse=reverse):
        hidden = gru_cell(x[:, t], hidden, weights)
        outputs[:, t] = hidden
    return outputs


def gru_vjp(grad: Array, x: Array, weights: GRUWeights, *, reverse: bool = False) -> tuple[Array, GRUWeights]:
    """Return the gradients of x and weights by backpropagation through time."""
    steps = _steps(x.shape[1], reverse=reverse)
    hidden = np.zeros((len(x), weights.recurrent.shape[0]))
    before = []
    for t in steps:
        before.append(hidden)
        hidden = gru_cell(x[:, t], hidden, weights)
    d_x, total = np.zeros_like(x, dtype=np.float64), GRUWeights(*(np.zeros(w.shape) for w in weights))
    d_hidden = np.zeros_like(hidden)
    for t, h in zip(reversed(steps), reversed(before), strict=True):
        d_x[:, t], d_hidden, step = gru_cell_vjp(d_hidden + grad[:, t], x[:, t], h, weights)
        total = GRUWeights(*(a + b for a, b in zip(total, step, strict=True)))
    return d_x, total


def _lstm_gates(x: Array, hidden: Array, weights: LSTMWeights) -> tuple[Array, Array, Array, Array]:
    recalled = np.asarray(hidden, np.float64) @ weights.recurrent
    i, f, g, o = np.split(np.asarray(x, np.float64) @ weights.kernel + recalled + weights.bias, 4, axis=1)
    return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)


def _gru_gates(x: Array, hidden: Array, weights: GRUWeights) -> tuple[Array, Array, Array, Array]:
    """Return reset, update, candidate, and the recurrent part that the reset gate scales."""
    fresh = np.asarray(x, np.float64) @ weights.kernel + weights.bias
    old = np.asarray(hidden, np.float64) @ weights.recurrent + weights.recurrent_bias
    fresh_r, fresh_z, fresh_g = np.split(fresh, 3, axis=1)
    old_r, old_z, recalled = np.split(old, 3, axis=1)
    r = sigmoid(fresh_r + old_r)
    return r, sigmoid(fresh_z + old_z), tanh(fresh_g + r * recalled), recalled


def _steps(length: int, *, reverse: bool) -> list[int]:
    return list(range(length))[::-1] if reverse else list(range(length))
