"""Whether a file has the zeros that its checkpoint was pruned to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from edgekit.result import Layer
from edgekit.result.recipe import GROUPS, PrunedLayer

#: Names that a sentence has.
_NAMED = 5


def lost(pruned: Sequence[PrunedLayer], grouped: Collection[str], layers: Iterable[Layer]) -> str:
    """Say which pruned layers have lost zeros on their way into files; an empty string where none has.

    Formats rename layers, so that a layer is one of the file's with as many weights: those with the most zeros are the
    pruned ones. Where a converter joined layers into larger ones, the zeros of all of them are held against each other.

    Args:
        pruned: what was pruned, by any step.
        grouped: names of those whose zeros lie two in each four.
        layers: of the files of all parts.
    """
    named = list(_lost(pruned, grouped, list(layers)))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"pruned layers lost zeros: {'; '.join(named[:_NAMED])}{more}" if named else ""


def _lost(pruned: Sequence[PrunedLayer], grouped: Collection[str], layers: list[Layer]) -> Iterator[str]:
    wanted: dict[int, list[PrunedLayer]] = defaultdict(list)
    for layer in pruned:
        wanted[layer.weights].append(layer)
    there: dict[int, list[Layer]] = defaultdict(list)
    for own in layers:
        there[math.prod(own.shape)].append(own)
    joined = list[PrunedLayer]()
    for size, alike in wanted.items():
        if len(there[size]) < len(alike):
            joined += alike
            continue
        owns = sorted(there.pop(size), key=lambda own: -_zeros(own))
        for layer, own in zip(sorted(alike, key=lambda layer: -layer.zeros), owns, strict=False):
            if _zeros(own) < layer.zeros:
                yield f"{layer.name} has {_zeros(own)} zeros of {layer.zeros}"
            elif layer.name in grouped and own.zeros_2_4 is not None and own.zeros_2_4 < 1:
                yield f"{layer.name} is {GROUPS} in {own.zeros_2_4:.1%} of its groups"
    found, needed = sum(_zeros(own) for rest in there.values() for own in rest), sum(one.zeros for one in joined)
    if found < needed:
        yield f"{', '.join(one.name for one in joined[:_NAMED])} together have {found} zeros of {needed}"


def _zeros(layer: Layer) -> int:
    """How many there are; none where the file does not tell."""
    return round((layer.zeros or 0.0) * math.prod(layer.shape))
