"""Recurrent cells of one step as the products that they are: coremltools reads layers of many steps alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

#: Distributions whose versions change what is done here.
PACKAGES = ("torch",)


def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """For ``ExportedProgram.run_decompositions``: the equations of ``nn.LSTMCell`` and ``nn.GRUCell``."""
    import torch

    aten = torch.ops.aten
    linear = torch.nn.functional.linear

    def lstm(x: Any, states: Sequence[Any], w_x: Any, w_h: Any, b_x: Any = None, b_h: Any = None) -> tuple[Any, Any]:
        hidden, cell = states
        gates = linear(x, w_x, b_x) + linear(hidden, w_h, b_h)
        i, f, g, o = gates.split(hidden.shape[-1], -1)
        after = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        return o.sigmoid() * after.tanh(), after

    def gru(x: Any, hidden: Any, w_x: Any, w_h: Any, b_x: Any = None, b_h: Any = None) -> Any:
        size = hidden.shape[-1]
        r_x, z_x, n_x = linear(x, w_x, b_x).split(size, -1)
        r_h, z_h, n_h = linear(hidden, w_h, b_h).split(size, -1)
        update = (z_x + z_h).sigmoid()
        new = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        return new + update * (hidden - new)

    return {aten.lstm_cell.default: lstm, aten.gru_cell.default: gru}
