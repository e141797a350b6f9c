"""One run's access to children and to the store: every step goes through ``Run.step``.

A step is looked up under the SHA-256 of all that its result depends on (see ``keys.py``). Only a miss starts a child.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.jobs import host as machine
from edgekit.jobs import keys
from edgekit.jobs.store import Entry, Lease, Store
from edgekit.jobs.workers import Workers
from edgekit.result import Host


@dataclass(frozen=True)
class Ref:
    """A file that an earlier step made: named by that step's key, opened by its path."""

    entry: Entry
    name: str

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.entry.file(self.name)


@dataclass(frozen=True)
class Given:
    """A file or text that the user handed in: named by its content's hash."""

    value: Any
    sha256: str


@dataclass
class Ledger:
    """What a run used, spent and reused, for the manifest; written by ``Run.step`` alone."""

    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_rss_bytes: int = 0
    reused: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    tools: dict[str, str] = field(default_factory=dict)


class Run:
    """Children, store and ledger of one conversion."""

    def __init__(
        self, workers: Workers, store: Store | Lease, progress: Callable[[str, str], None], host: Host | None = None
    ) -> None:
        self.workers = workers
        self.store = store
        self.progress = progress
        self.host = host or machine.host()
        self.ledger = Ledger()

    def step(self, name: str, environment: str, label: str, arguments: dict[str, Any]) -> Entry:
        """Return a step's entry, running it in a child of that kind where the store has none.

        Args:
            name: ``module`` or ``module:function`` below ``edgekit.steps``; ``run`` is the function where none is said.
            environment: kind of child.
            label: where its CPU seconds are booked in the manifest, and what the user is shown.
            arguments: JSON values, ``Ref`` and ``Given``, and dicts of them.
        """
        module, _, inner = name.partition(":")
        function = f"edgekit.steps.{module}:{inner or 'run'}"
        actual = {key: _actual(value) for key, value in arguments.items()}
        identities = {key: _identity(value) for key, value in arguments.items()}
        material = keys.material(name, environment, actual, identities, self.host, keys.installed())

        def produce(folder: Path) -> dict[str, Any]:
            self.progress("start", label)
            answer = self.workers.call(environment, function, {"folder": str(folder), **actual})
            return {"value": answer.value, "cpu_seconds": answer.cpu_seconds, "peak_rss_bytes": answer.peak_rss_bytes}

        made = self.store.make(material, produce)
        self.ledger.tools |= {tool: version for tool, version in material["tools"].items() if version}
        self._book(made, label)
        return Entry(made.key, made.value["value"], made.folder, made.reused)

    def _book(self, made: Entry, label: str) -> None:
        ledger, kind = self.ledger, label.split(":")[0]
        ledger.cpu_seconds[kind] = round(ledger.cpu_seconds.get(kind, 0.0) + made.value["cpu_seconds"], 3)
        ledger.peak_rss_bytes = max(ledger.peak_rss_bytes, made.value["peak_rss_bytes"])
        (ledger.reused if made.reused else ledger.made).append(label)
        self.progress("reused" if made.reused else "done", label)


def _identity(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"entry": value.entry.key, "file": value.name}
    if isinstance(value, dict):
        return {key: _identity(inner) for key, inner in value.items()}
    return {"sha256": value.sha256} if isinstance(value, Given) else value


def _actual(value: Any) -> Any:
    if isinstance(value, Ref):
        return str(value.path)
    if isinstance(value, dict):
        return {key: _actual(inner) for key, inner in value.items()}
    return value.value if isinstance(value, Given) else value
