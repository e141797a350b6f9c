"""Workers whose children say what each step imports, to be held against its key."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.jobs import keys
from edgekit.jobs.workers import Answer, Workers

CHILDREN = Path(__file__).parent / "children"


class Watching(Workers):
    """``unfollowed`` is what a step imported and its key does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.unfollowed: dict[str, set[str]] = {}
        self.steps: set[str] = set()
        self._lock = threading.Lock()

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **options: Any) -> Answer[Any]:
        answer = super().call(environment, "imported:run", {"watched_step": step, **arguments}, **options)
        name = step.removeprefix("edgekit.steps.").removesuffix(":run")
        known = keys.imported(step, environment, arguments, keys.installed())
        with self._lock:
            self.steps.add(name)
            if unknown := set(answer.value["imported"]) - known:
                self.unfollowed[f"{name} in {environment}"] = unknown
        return replace(answer, value=answer.value["value"])


@contextlib.contextmanager
def watching() -> Iterator[Watching]:
    """Start them; at the end, nothing may have been imported that a key does not know of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(CHILDREN))
        with Watching() as made:
            yield made
        assert made.unfollowed == {}
