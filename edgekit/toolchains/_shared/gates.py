"""Recurrent cells that come unrolled, told by their gates in any toolchain's graph.

Quantized to int8 as sums and products, gates cost 10 dB on the zoo's LSTM and save no time, so that routes which
quantize everything leave such models to routes which quantize products with weights alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable


def has_gates(products: Iterable[tuple[Collection[str], Collection[str]]]) -> bool:
    """Whether a hyperbolic tangent is multiplied by a sigmoid (LSTM) or by what it lacks to 1 (GRU).

    Args:
        products: of each product of two tensors, the operators that made each of them, in lower case; for a difference,
            also those that made what it is taken of.
    """
    return any(("tanh" in a and "sigmoid" in b) or ("sigmoid" in a and "tanh" in b) for a, b in products)
