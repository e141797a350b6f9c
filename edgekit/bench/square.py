"""The yardstick: a product of two square matrices, converted to the same target by the same routes.

What share of its throughput a model reaches says how well the runtime feeds its arithmetic units with that model; the
processor's peak, which no file reaches, would say less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

#: Rows and columns of both.
SIDE = 1024
MACS = SIDE**3


def matmul() -> torch.nn.Module:
    """``(SIDE, SIDE)`` float32 in and out, times a fixed matrix; loaded as ``file.py:function``."""
    import torch

    torch.manual_seed(0)
    product = torch.nn.Linear(SIDE, SIDE, bias=False)
    product.example_inputs = (torch.zeros(SIDE, SIDE),)  # type: ignore[assignment]
    return product.eval()


def samples() -> Iterator[np.ndarray]:
    """Inputs for activation ranges."""
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield rng.standard_normal((SIDE, SIDE), dtype=np.float32)
