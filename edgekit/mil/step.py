"""Executing a Core ML ML Program that somebody handed in."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from edgekit import mil

OUTPUTS = "outputs.npz"


@dataclass(frozen=True)
class Request:
    """A package, and a file of arrays named as its inputs."""

    model: PathLike[str]
    inputs: PathLike[str]


def run(folder: Path, request: Request) -> dict[str, Any]:
    """Run a package once; writes ``outputs.npz`` and says what ``mil.run_file`` does."""
    return mil.run_file(Path(request.model), Path(request.inputs), folder / OUTPUTS)
