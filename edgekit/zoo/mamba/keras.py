"""Mamba in Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

EPSILON = 1e-5
#: Tokens that the convolution sees, and by how much wider a block is inside.
KERNEL, EXPANSION = 4, 2
#: An exponent that leaves nothing: of tokens that come later.
LATER = -1e4


def build(*, vocabulary: int, length: int, width: int, depth: int, state: int, rank: int, chunk: int) -> keras.Model:
    """Build with random weights for sequences of ``length`` tokens; ``rank`` is that of the step's projection."""
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    embeddings = layers.ReversibleEmbedding(vocabulary, width, name="embeddings")
    # Indices come from the input, or the tables of decays would be no layers of this graph; converters fold them.
    rows = ops.zeros_like(tokens[:, :1]) + np.arange(EXPANSION * width, dtype="int32")
    x = embeddings(tokens)
    for i in range(depth):
        normed = layers.RMSNormalization(epsilon=EPSILON, name=f"layers_{i}_norm")(x)
        x = x + _mixer(normed, rows, f"layers_{i}_mixer", state, rank, chunk)
    x = layers.RMSNormalization(epsilon=EPSILON, name="norm_f")(x)
    return keras.Model(tokens, embeddings(x, reverse=True), name="mamba")


def _mixer(x: Any, rows: Any, path: str, state: int, rank: int, chunk: int) -> Any:
    """Convolution and selective state space (algorithm 2 of the paper), gated."""
    width = x.shape[-1]
    inner = EXPANSION * width
    hidden, gate = ops.split(layers.Dense(2 * inner, use_bias=False, name=f"{path}_in_proj")(x), 2, axis=-1)
    hidden = layers.ZeroPadding1D((KERNEL - 1, 0), name=f"{path}_pad")(hidden)
    hidden = ops.silu(layers.DepthwiseConv1D(KERNEL, name=f"{path}_conv1d")(hidden))
    told = layers.Dense(rank + 2 * state, use_bias=False, name=f"{path}_x_proj")(hidden)
    step, write, read = ops.split(told, [rank, rank + state], axis=-1)
    step = ops.softplus(layers.Dense(inner, name=f"{path}_dt_proj")(step))
    rate = -ops.exp(layers.Embedding(inner, state, name=f"{path}_decay")(rows))
    mixed = _scan(hidden, step, write, read, rate, chunk)
    mixed = mixed + layers.DepthwiseConv1D(1, use_bias=False, name=f"{path}_skip")(hidden)
    return layers.Dense(width, use_bias=False, name=f"{path}_out_proj")(mixed * ops.silu(gate))


def _scan(hidden: Any, step: Any, write: Any, read: Any, rate: Any, chunk: int) -> Any:
    """``h_t = exp(step_t A) h_(t-1) + step_t B_t x_t``, ``y_t = C_t h_t``: (n, T, inner) of all tokens."""
    later = np.triu(np.full((chunk, chunk), LATER, "float32"), 1)[None, :, :, None, None]
    logs = ops.expand_dims(step, -1) * ops.expand_dims(rate, 1)
    added = ops.expand_dims(step * hidden, -1) * ops.expand_dims(write, 2)
    carried, found = ops.zeros_like(added[:, 0]), []
    for start in range(0, hidden.shape[1], chunk):
        total = ops.cumsum(logs[:, start : start + chunk], axis=1)
        # Of token s in token t: what is left of it, and nothing where s is later.
        left = ops.exp(ops.expand_dims(total, 2) - ops.expand_dims(total, 1) + later)
        states = ops.sum(left * ops.expand_dims(added[:, start : start + chunk], 1), axis=2)
        states = states + ops.exp(total) * ops.expand_dims(carried, 1)
        found.append(ops.sum(states * ops.expand_dims(read[:, start : start + chunk], 2), axis=-1))
        carried = states[:, -1]
    return ops.concatenate(found, axis=1)
