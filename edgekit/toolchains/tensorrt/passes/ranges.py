"""Ranges of activations in a file: it is ONNX, of pairs without a zero point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.scheme import Range
from edgekit.toolchains.onnx.passes import ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.toolchains import Rows


def read(file: Path) -> tuple[Range, ...]:
    """The ranges of activations, which all are symmetric."""
    return tuple(replace(one, high=one.scale * 127, low=-one.scale * 127, symmetric=True) for one in ranges.read(file))


def values(file: Path, names: Iterable[str], samples: Mapping[str, Rows]) -> dict[str, list[NDArray[Any]]]:
    """What tensors of a float file are on each of some samples."""
    return ranges.values(file, names, samples)
