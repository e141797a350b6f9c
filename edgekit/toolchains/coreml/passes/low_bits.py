"""Weights of 4 bits in an ML Program, as coremltools writes them: in blocks that share a scale, or in a palette.

coremltools' own passes leave what they cannot do in float without a word: blocks that do not divide, and whatever has
at most 2048 elements. Its palettes are tables of float32, each for the same number of channels in all layers; here each
channel has one of its own in int8, in the form in which coremltools writes palettes that it quantizes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.scheme import Scheme
from edgekit.toolchains._shared import int8
from edgekit.toolchains.coreml.audit import Factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Numbers in a palette of 4 bits.
ENTRIES = 16


def chosen(factors: Mapping[str, list[Factor]], scheme: Scheme, left: Collection[str]) -> dict[str, Factor]:
    """Constants that get 4 bits, by name.

    Args:
        factors: all that there are.
        scheme: whose blocks must divide, or whose palettes must be worth their room.
        left: names of operators whose weights do not.
    """
    return {
        name: uses[0]
        for name, uses in factors.items()
        if all(use.operation not in left for use in uses)
        and len({(use.output, use.input) for use in uses}) == 1
        and all(not scheme.too_large_for(use.shape) for use in uses)
    }


def pass_of(ct: Any, wanted: Mapping[str, Factor], scheme: Scheme) -> Any:
    """A graph pass of coremltools that stores these constants in 4 bits."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813  # as all of coremltools calls it
    from coremltools.converters.mil.mil import types
    from coremltools.optimize.coreml._quantization_passes import AbstractCompressionPass

    class LowBits(AbstractCompressionPass):  # type: ignore[misc]
        def is_valid_op(self, op: Any) -> bool:
            return op.op_type == "const" and op.outputs[0].name in wanted

        def transform_op(self, op: Any) -> None:
            values, factor = np.asarray(op.outputs[0].val), wanted[op.outputs[0].name]
            name = f"{op.name}_{scheme.weights}"
            if scheme.weights == "lut4":
                indices, tables, scale = palettes(values, factor.output)
                table = mb.constexpr_blockwise_shift_scale(
                    data=tables, scale=scale.astype(values.dtype), before_op=op, name=f"{name}_table"
                )
                made = mb.constexpr_lut_to_dense(
                    indices=indices.astype(types.np_uint4_dtype), lut=table, before_op=op, name=name
                )
            else:
                assert scheme.group is not None
                integers, scale = int8.blocks(values, factor.output, factor.input, scheme.group)
                made = mb.constexpr_blockwise_shift_scale(
                    data=integers.astype(types.np_int4_dtype), scale=scale.astype(values.dtype), before_op=op, name=name
                )
            op.enclosing_block.replace_uses_of_var_after_op(
                anchor_op=op, old_var=op.outputs[0], new_var=made, no_check_var_types=True
            )
            op.enclosing_block.remove_ops([op])

    return LowBits()


def palettes(
    values: NDArray[np.floating], output: int
) -> tuple[NDArray[np.uint8], NDArray[np.int8], NDArray[np.float32]]:
    """Indices of all weights, the table of each output channel, and the scale of each table.

    A table has the means of the clusters with the least squared error, rounded to int8. Weights on a grid from -7 to 7
    keep it.

    Args:
        values: weights.
        output: axis of the output channels.

    Returns:
        The indices in the shape of the weights; tables and scales have the length of the weights along ``output``,
        elsewhere 1, and two axes more: the numbers, and one.
    """
    rows = np.moveaxis(values, output, 0).reshape(values.shape[output], -1)
    tables = np.stack([_centres(row) for row in rows])
    largest = int8.lengths(tables, (1,))
    scale = (largest / int8.whole_steps(tables / largest, 1)).astype(np.float32)
    stored = np.rint(tables / scale).astype(np.int8)
    read = zip(rows, stored * scale, strict=True)
    indices = np.stack([np.abs(row[:, None] - table).argmin(1) for row, table in read])
    shape = [1] * values.ndim
    shape[output] = len(rows)
    laid_out = indices.astype(np.uint8).reshape(values.shape[output], *np.delete(values.shape, output))
    return np.moveaxis(laid_out, 0, output), stored.reshape(*shape, ENTRIES, 1), scale.reshape(*shape, 1, 1)


def _centres(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The 16 numbers that are nearest to weights; their last stands again for those that are too many.

    Where many weights are zero they were pruned, and one of the numbers is zero.
    """
    from coremltools._deps import _kmeans1d

    seen, counts = np.unique(weights.astype(np.float64), return_counts=True)
    if len(seen) > ENTRIES:
        seen = np.sort(_kmeans1d.cluster(seen, ENTRIES, weights=counts.astype(np.float64)).centroids)
        if np.mean(weights == 0) > 1 / ENTRIES:
            seen[np.abs(seen).argmin()] = 0
    return np.pad(seen, (0, ENTRIES - len(seen)), "edge")
