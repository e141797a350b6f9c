"""Scales and zero points of the tensors of a .tflite file."""

from __future__ import annotations

from pathlib import Path

from edgekit.toolchains import Scaled
from edgekit.toolchains.litert.graph import read_subgraphs
from edgekit.toolchains.litert.schema import packed_model


def read(file: Path, entry: str | None = None) -> tuple[Scaled, ...]:
    """Every tensor that has a scale, of all subgraphs, in the file's order; of blocks alone their size is told."""
    return tuple(
        Scaled(
            name=tensor.name,
            type=tensor.type,
            constant=tensor.data is not None,
            scales=tuple(map(float, tensor.scales)),
            zero_points=tuple(map(int, tensor.zero_points)),
            axis=tensor.axis if len(tensor.scales) > 1 else None,
            block=tensor.block,
        )
        for graph in read_subgraphs(packed_model(file.read_bytes(), file))
        for tensor in graph.tensors
        if len(tensor.scales) or tensor.block
    )
