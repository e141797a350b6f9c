"""Weights of 4 bits in an ML Program, as coremltools writes them: in blocks that share a scale, or in a palette.

coremltools' own passes leave what they cannot do in float without a word: blocks that do not divide, and whatever has
at most 2048 elements. Its palette takes one number of channels to a table for all layers of a model, and its scale per
channel beside a palette becomes a table per channel, since the runtime of iOS 18 cannot have it behind the palette
(``canonicalize_quantized_lut_pattern``).
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
#: A palette has at least so many weights: no more room for its numbers than blocks of 32 take for their scales.
LEAST = ENTRIES * 32
#: Different weights from which on a palette is found by those that float16 tells apart, which is as close.
_MOST_DISTINCT = 1 << 16
#: What stays in int8.
_HIGHER: Mapping[str, Collection[str]] = {"int4": (), "lut4": ()}
#: Different weights from which on a palette is found by those that float16 tells apart, which is as close.
_MOST_DISTINCT = 1 << 16


def chosen(
    factors: Mapping[str, list[Factor]], scheme: Scheme, left: Collection[str]
) -> dict[str, Factor]:
    """Constants that get 4 bits, by name.

    Args:
        factors: all that there are.
        scheme: whose blocks must divide.
        left: names of operators whose weights do not.
    """
    return {
        name: uses[0]
        for name, uses in factors.items()
        if all(use.kind not in _HIGHER[scheme.weights] and use.operation not in left for use in uses)
        and len({(use.output, use.input) for use in uses}) == 1
        and (scheme.group is None or uses[0].inputs % scheme.group == 0)
    }


def pass_of(ct: Any, wanted: Mapping[str, Factor], scheme: Scheme) -> Any:
    """A graph pass of coremltools that stores these constants in 4 bits."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813  # as all of coremltools calls it
    from coremltools.converters.mil.mil import types
    from coremltools.optimize.coreml._quantization_passes import AbstractCompressionPass

    class LowBits(AbstractCompressionPass):  # type: ignore[misc]
        def is_valid_op(self, op: Any) -> bool:
            return op.op_type == "const" and op.name in wanted

        def transform_op(self, op: Any) -> None:
            values, factor = np.asarray(op.outputs[0].val), wanted[op.name]
            name = f"{op.name}_{scheme.weights}"
            if scheme.weights == "lut4":
                indices, tables = palettes(values, factor.output)
                made = mb.constexpr_lut_to_dense(
                    indices=indices.astype(types.np_uint4_dtype), lut=tables.astype(values.dtype), before_op=op, name=name
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


def palettes(values: NDArray[np.floating], output: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Indices of all weights, and the tables that they point into: one for so many output channels.

    As few channels share a table as its room allows; weights that lie on 16 numbers already keep them, whatever room
    that takes. A table's numbers are the means of the clusters with the least squared error.

    Args:
        values: weights.
        output: axis of the output channels.

    Returns:
        The indices, and the tables with the rank of the weights, their 16 numbers and 1 of each.
    """
    rows = np.moveaxis(values, output, 0).reshape(values.shape[output], -1)
    group = _channels(rows)
    found = [_clustered(part) for part in rows.reshape(len(rows) // group, -1)]
    shape = (values.shape[output], *np.delete(values.shape, output))
    indices = np.moveaxis(np.concatenate([own for own, _ in found]).reshape(shape), 0, output)
    tables = np.stack([table for _, table in found])
    return indices, tables.reshape([len(found) if axis == output else 1 for axis in range(values.ndim)] + [ENTRIES, 1])


def _channels(rows: NDArray[np.floating]) -> int:
    """How many output channels share a table."""
    count, each = rows.shape
    if len(np.unique(rows)) <= ENTRIES:
        return count
    if each >= 2 * ENTRIES and all(len(np.unique(row)) <= ENTRIES for row in rows):
        return 1
    return next((n for n in range(1, count) if count % n == 0 and n * each >= LEAST), count)


def _clustered(weights: NDArray[np.floating]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The nearest of 16 numbers for each weight, and these numbers."""
    from coremltools._deps import _kmeans1d

    seen, counts = np.unique(weights, return_counts=True)
    if len(seen) > _MOST_DISTINCT:
        seen, counts = np.unique(weights.astype(np.float16), return_counts=True)
    few = min(ENTRIES, len(seen))
    centres = np.sort(_kmeans1d.cluster(seen.astype(np.float64), few, weights=counts.astype(np.float64)).centroids)
    indices = np.searchsorted((centres[1:] + centres[:-1]) / 2, weights)
    table = np.zeros(ENTRIES)
    held = np.bincount(indices, minlength=few)
    table[:few] = np.bincount(indices, weights, minlength=few) / np.maximum(held, 1)
    return indices.astype(np.uint8), table
