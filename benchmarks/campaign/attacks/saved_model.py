"""Attacks in SavedModels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from campaign.attacks.attack import Attack, Place


def _saved(name: str, change: Callable[[Place, Path], object]) -> Attack:
    def make(place: Place) -> Path:
        path = Path(shutil.copytree(place.originals / "saved_model", place.folder / name))
        change(place, path)
        return path

    return Attack(name, make, "keras-tensorflow")


def _linked(member: str) -> Callable[[Place, Path], object]:
    def change(place: Place, path: Path) -> None:
        [file] = path.glob(member) if "*" in member else [path / member]
        file.parent.mkdir(exist_ok=True)
        file.unlink(missing_ok=True)
        file.symlink_to(place.secret)

    return change


TENSORFLOW = ("loop", "branch", "save", "merge", "list", "region", "remap", "lines", "log", "summary")
SAVED = [
    *[Attack(f"sm_{name}", lambda p, name=name: p.folder / f"sm_{name}", "keras-tensorflow") for name in TENSORFLOW],
    _saved("sm-linked-weights", _linked("variables/variables.data*")),
    _saved("sm-linked-asset", _linked("assets/vocabulary.txt")),
    _saved(
        "sm-graph-as-text", lambda p, path: (path / "saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    ),
    _saved("sm-graph-in-pieces", lambda p, path: (path / "saved_model.cpb").write_bytes(b"riegeli")),
]
