"""Short names for a chosen file, and what they stand for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from edgekit import toolchains
from edgekit.steps import Json


def run(folder: str, toolchain_name: str, file: str) -> Json:
    """Write a file under short names, and beside it ``names.json``; ``file`` is None where its names stay."""
    names = toolchains.compact(toolchain_name, Path(file), Path(folder))
    if names is None:
        return {"file": None}
    document = {"schema": 1, **asdict(names)}
    (Path(folder) / "names.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", "utf-8")
    return {"file": Path(file).name}
