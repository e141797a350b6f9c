"""Executing a Core ML ML Program that somebody handed in."""

from __future__ import annotations

from pathlib import Path

from edgekit import mil
from edgekit.steps import Json

OUTPUTS = "outputs.npz"


def run(folder: str, model: str, inputs: str) -> Json:
    """Run a package once on the arrays of a file; writes ``outputs.npz`` and says what ``mil.run_file`` does."""
    return mil.run_file(Path(model), Path(inputs), Path(folder) / OUTPUTS)
