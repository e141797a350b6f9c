"""Scales and zero points of the tensors inside a .pte file's XNNPACK delegates, and which operators are in these."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgekit.toolchains import Scaled
from edgekit.toolchains.executorch.audit import inspect


def read(file: Path, entry: str | None = None) -> tuple[Scaled, ...]:
    """Every tensor that has a stored scale, once each; they have no names, and are called by operator and place."""
    found: dict[object, Scaled] = {}
    for number, nodes in enumerate(inspect(file, entry).nodes):
        for place, node in enumerate(nodes):
            values = [(f"input {i}", value) for i, value in enumerate(node.inputs)] + [("output", node.output)]
            for side, value in values:
                key = value.key if value.constant is not None else (number, value.number)
                if not value.scales or key in found:
                    continue
                found[key] = Scaled(
                    name=f"{node.type}:{number}/{place} {side}",
                    type=value.type,
                    constant=value.constant is not None,
                    scales=tuple(map(float, value.scales)),
                    zero_points=(value.zero_point,),
                    axis=None,
                    block=value.block,
                )
    return tuple(found.values())


def delegated_operators(file: Path, entry: str | None = None) -> dict[str, tuple[int, int]]:
    """Operators by type: how many a delegate runs, of how many; those outside are kernels of the portable library."""
    contents = inspect(file, entry)
    inside = Counter(node.type for node in contents.delegated)
    outside = Counter(call.kernel for call in contents.kernels)
    return {kind: (inside[kind], inside[kind] + outside[kind]) for kind in sorted({*inside, *outside})}
