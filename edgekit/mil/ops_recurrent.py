"""Recurrent layers, ``(steps, batch, features)``.

Where the program is float16 the states are rounded after every step; what Apple's kernels round inside a step is not
published, so that nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[Any]
Round = Callable[[Array], Array]

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
    "sigmoid_hard": lambda x: np.clip(np.float32(0.2) * x + np.float32(0.5), 0, 1),
    "scaled_tanh": np.tanh,
}


def lstm(
    *,
    x: Array,
    initial_h: Array,
    initial_c: Array,
    weight_ih: Array,
    weight_hh: Array,
    rounded: Round,
    bias: Array | None = None,
    peephole: Array | None = None,
    weight_ih_back: Array | None = None,
    weight_hh_back: Array | None = None,
    bias_back: Array | None = None,
    peephole_back: Array | None = None,
    direction: str = "forward",
    output_sequence: Array | bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: Array | float | None = None,
) -> tuple[Array, Array, Array]:
    """LSTM with gates in the order input, forget, output, cell; one direction or both.

    Returns:
        outputs of every step (or of the last one computed, with one step), last hidden state, last cell state.
    """
    functions = (recurrent_activation, cell_activation, activation)
    limit = None if clip is None else float(clip)
    if direction != "bidirectional":
        weights = (weight_ih, weight_hh, bias, peephole)
        found = _lstm(x, initial_h, initial_c, weights, direction == "reverse", functions, limit, rounded)
    else:
        if weight_ih_back is None or weight_hh_back is None:
            raise ValueError("a bidirectional lstm needs weights of both directions")
        width = initial_h.shape[-1] // 2
        there = (weight_ih, weight_hh, bias, peephole)
        back = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
        halves = (
            _lstm(x, initial_h[:, :width], initial_c[:, :width], there, False, functions, limit, rounded),
            _lstm(x, initial_h[:, width:], initial_c[:, width:], back, True, functions, limit, rounded),
        )
        joined = [np.concatenate(pair, axis=-1) for pair in zip(*halves, strict=True)]
        found = joined[0], joined[1], joined[2]
    sequence, hidden, cell = found
    return (sequence if bool(output_sequence) else hidden[None]), hidden, cell


def _lstm(
    x: Array,
    hidden: Array,
    cell: Array,
    weights: tuple[Array, Array, Array | None, Array | None],
    reverse: bool,
    functions: tuple[str, str, str],
    clip: float | None,
    rounded: Round,
) -> tuple[Array, Array, Array]:
    into, recurrent, bias, peephole = weights
    gate, squash, last = (_ACTIVATIONS[name] for name in functions)
    fresh = x @ into.T + (0 if bias is None else bias)
    peep = np.zeros((3, hidden.shape[-1]), np.float32) if peephole is None else peephole.reshape(3, -1)
    outputs = np.zeros((len(x), *hidden.shape), np.float32)
    for t in _steps(len(x), reverse):
        i, f, o, z = np.split(fresh[t] + hidden @ recurrent.T, 4, axis=-1)
        i, f, z = gate(i + peep[0] * cell), gate(f + peep[1] * cell), squash(z)
        cell = f * cell + i * z
        cell = rounded(cell if clip is None else np.clip(cell, -clip, clip))
        hidden = rounded(gate(o + peep[2] * cell) * last(cell))
        outputs[t] = hidden
    return outputs, hidden, cell


def gru(
    *,
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    rounded: Round,
    bias: Array | None = None,
    direction: str = "forward",
    output_sequence: Array | bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
) -> tuple[Array, Array]:
    """GRU with gates in the order reset, output (candidate), update; the reset gate is applied after the product."""
    gate, last = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    fresh = x @ weight_ih.T + (0 if bias is None else bias)
    hidden = initial_h
    outputs = np.zeros((len(x), *hidden.shape), np.float32)
    for t in _steps(len(x), direction == "reverse"):
        fresh_r, fresh_o, fresh_z = np.split(fresh[t], 3, axis=-1)
        old_r, old_o, old_z = np.split(hidden @ weight_hh.T, 3, axis=-1)
        r, z = gate(fresh_r + old_r), gate(fresh_z + old_z)
        hidden = rounded((1 - z) * last(fresh_o + r * old_o) + z * hidden)
        outputs[t] = hidden
    return (outputs if bool(output_sequence) else hidden[None]), hidden


def rnn(
    *,
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    rounded: Round,
    bias: Array | None = None,
    direction: str = "forward",
    output_sequence: Array | bool = False,
    activation: str = "tanh",
) -> tuple[Array, Array]:
    """Elman's network."""
    last = _ACTIVATIONS[activation]
    fresh = x @ weight_ih.T + (0 if bias is None else bias)
    hidden = initial_h
    outputs = np.zeros((len(x), *hidden.shape), np.float32)
    for t in _steps(len(x), direction == "reverse"):
        hidden = rounded(last(fresh[t] + hidden @ weight_hh.T))
        outputs[t] = hidden
    return (outputs if bool(output_sequence) else hidden[None]), hidden


def _steps(length: int, reverse: bool) -> list[int]:
    return list(range(length))[::-1] if reverse else list(range(length))
