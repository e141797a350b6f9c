"""DTLN in Keras: its two stages, each for one frame."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def build(*, frame: int, hop: int, width: int, hidden: int, depth: int, epsilon: float) -> dict[str, keras.Model]:
    """Build both stages with random weights; ``width`` learned features, ``depth`` LSTM layers per stage."""
    del hop  # the host's
    magnitude = keras.Input((frame // 2 + 1,), name="magnitude")
    mask, before, after = _masked("stage1", magnitude, frame // 2 + 1, hidden, depth)
    first = keras.Model([magnitude, *before], [mask, *after], name="stage1")

    samples = keras.Input((frame,), name="frame")
    features = layers.Dense(width, use_bias=False, name="stage2_encoder")(samples)
    normal = layers.LayerNormalization(epsilon=epsilon, name="stage2_norm")(features)
    mask, before, after = _masked("stage2", normal, width, hidden, depth)
    decoded = layers.Dense(frame, use_bias=False, name="stage2_decoder")(features * mask)
    second = keras.Model([samples, *before], [decoded, *after], name="stage2")
    return {"stage1": first, "stage2": second}


def _masked(part: str, x: Any, width: int, hidden: int, depth: int) -> tuple[Any, list[Any], list[Any]]:
    """LSTM cells on top of each other and a mask from the last, with their states as inputs and as tensors."""
    before, after = [], []
    for i in range(depth):
        state = [keras.Input((hidden,), name=f"{kind}_{i}") for kind in ("hidden", "cell")]
        x, memory = _cell(f"{part}_cells_{i}", x, *state)
        before += state
        after += [x, memory]
    return ops.sigmoid(layers.Dense(width, name=f"{part}_mask")(x)), before, after


def _cell(name: str, x: Any, hidden: Any, cell: Any) -> tuple[Any, Any]:
    """One step of an LSTM in plain operations -> the next hidden and cell state."""
    width = 4 * hidden.shape[-1]
    given = layers.Dense(width, name=f"{name}_given")(x)
    carried = layers.Dense(width, use_bias=False, name=f"{name}_carried")(hidden)
    i, f, g, o = ops.split(given + carried, 4, axis=-1)
    cell = ops.sigmoid(f) * cell + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(cell), cell
