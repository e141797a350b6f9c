"""Every route of 4 bits gives the same bytes in two processes (whole conversions: ``benchmarks/determinism.py``)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgekit import target as targets
from tests.contract.children import grids
from tests.contract.conftest import child

ROUTES: dict[str, set[str]] = {}
for one in targets.whole():
    if one.scheme.below_8_bits:
        ROUTES.setdefault(one.toolchain, set()).update(route.name for route in one.routes)


def content(made: Path) -> dict[str, str]:
    """Hashes of a route's file and of those beside it, or of a package's."""
    files = (path for path in made.parent.rglob("*") if path.is_file())
    return {str(path.relative_to(made.parent)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("toolchain", ROUTES)
def test_two_processes_write_the_same_bytes(made: Any, tmp_path: Path, toolchain: str) -> None:
    first = made(toolchain, *grids.SHARED)
    child("six_graphs.py", toolchain, "torch", str(tmp_path), *grids.SHARED)
    second = {tuple(key.split()): row for key, row in json.loads((tmp_path / "outcome.json").read_text()).items()}
    compared = 0
    for (model, route), file in first.items():
        if route in ROUTES[toolchain]:
            again = tmp_path / second[model, route]["file"]
            assert content(file) == content(again), (model, route)
            compared += 1
    assert compared >= len(ROUTES[toolchain]), "each route on one graph at least"
