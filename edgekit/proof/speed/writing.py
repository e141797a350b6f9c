"""Timing a model that writes text: how long until the first token, and how many a second.

The file takes a window of tokens and scores the next one at every place. It has a fixed length and keeps nothing from
call to call, so that each token is a run over the whole window: what an app that has this file alone can do.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgekit.proof.speed.measurement import Tokens
from edgekit.toolchains import Session

#: What is found here is true of this machine alone.
MEASURES = True


def writes(inputs: Mapping[str, NDArray[np.generic]], outputs: Mapping[str, NDArray[np.generic]]) -> bool:
    """Whether a file does: one input of whole numbers ``(1, T)``, one output of scores ``(1, T, vocabulary)``."""
    if len(inputs) != 1 or len(outputs) != 1:
        return False
    [given], [made] = inputs.values(), outputs.values()
    return given.dtype.kind in "iu" and given.ndim == 2 and made.ndim == 3 and made.shape[:2] == given.shape


def measure(session: Session, inputs: Mapping[str, NDArray[np.generic]]) -> Tokens:
    """Write the second half of a window after the first, each token the likeliest; inputs are set within the clock."""
    [(name, window)] = inputs.items()
    tokens = np.array(window)
    length = tokens.shape[1]
    prompt = length // 2
    tokens[:, prompt:] = 0
    start = time.perf_counter_ns()
    first = 0
    for place in range(prompt, length):
        [scores] = session.run({name: tokens}).values()
        tokens[:, place] = np.argmax(scores[:, place - 1], axis=-1)
        first = first or time.perf_counter_ns() - start
    seconds = (time.perf_counter_ns() - start) / 1e9
    written = length - prompt
    return Tokens(prompt=prompt, written=written, first_token_ms=first / 1e6, tokens_per_s=written / seconds)
