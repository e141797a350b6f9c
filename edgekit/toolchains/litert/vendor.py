"""ai-edge-quantizer, mended while it quantizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edgekit.toolchains._shared.vendors import Fault

CONSTANT_RANKS = Fault(
    "a constant that gets the scale of a tensor of another rank (packed with it, for one) ends the quantization",
    package="ai-edge-quantizer",
    first="0.10",
    last="0.10",
)


@contextmanager
def fitting_ranks() -> Iterator[None]:
    """While it is open, a scale of one element fits a constant of any rank.

    The tool gives the scale of a whole tensor as many axes as that tensor has, and adds more to it for a constant of
    fewer: "Ranks of scales (7) and zps (7) must be the same as the tensor rank (3)".
    """
    from ai_edge_quantizer.algorithms.uniform_quantize import uniform_quantize_tensor as tool

    original = tool.fix_quantization_params_rank

    def fitted(tensor_data: Any, quantization_params: Any) -> Any:
        given = quantization_params
        if given.scale.size != 1 or given.zero_point.size != 1:
            return original(tensor_data, given)
        shape = (1,) * tensor_data.ndim
        return replace(given, scale=given.scale.reshape(shape), zero_point=given.zero_point.reshape(shape))

    tool.fix_quantization_params_rank = fitted
    try:
        yield
    finally:
        tool.fix_quantization_params_rank = original
