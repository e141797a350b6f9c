"""Looking into a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edgekit import toolchains
from edgekit.steps import Json


def run(folder: str, toolchain_name: str, file: str) -> Json:
    """Look into a file; nothing is executed."""
    return asdict(toolchains.audit(toolchain_name, Path(file)))
