"""Range plans: estimators by name, one TOML file each in ``calibration/``."""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgekit import catalogue
from edgekit.errors import UsageError
from edgekit.ranges.estimator import Estimator

#: What a file may say; its name is the plan's.
KEYS = ("title", *(field.name for field in fields(Estimator) if field.name != "name"))
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("percentile", "momentum"), (int, float)),
    **dict.fromkeys(("bins", "samples", "least"), (int,)),
}


def names() -> list[str]:
    """All plans, sorted."""
    return catalogue.names("calibration")


def load(name: str) -> Estimator:
    """Read a plan by name or by path of a TOML file; raises ``UsageError`` naming the wrong key."""
    return parse(catalogue.find("calibration", name))


def parse(path: Path) -> Estimator:
    """Read and validate one plan."""
    content = catalogue.read(path)
    for key, value in content.items():
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1, cutoff=0)[0]
            raise _wrong(path, f"unknown key {key!r}; did you mean {close!r}? known: {', '.join(KEYS)}")
        if not isinstance(value, _KINDS.get(key, (str,))) or isinstance(value, bool):
            raise _wrong(path, f"{key}: {value!r} is no {'number that it can be' if key in _KINDS else 'text'}")
    for key in ("title", "method"):
        if key not in content:
            raise _wrong(path, f"it has no key {key!r}")
    given: dict[str, Any] = {key: value for key, value in content.items() if key != "title"}
    try:
        return Estimator(name=path.stem, **given)
    except ValueError as error:
        raise _wrong(path, str(error)) from error


def _wrong(path: Path, what: str) -> UsageError:
    return UsageError(f"{path.name}: {what}", hint="Compare with the packaged plans: `edgekit list ranges`.")
