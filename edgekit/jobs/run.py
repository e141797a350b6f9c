"""One run's access to children and to the store: every step goes through ``Run.step``.

A step is looked up under the SHA-256 of all that its result depends on (see ``keys.py``). Only a miss starts a child.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit import user_code
from edgekit.errors import FailedError
from edgekit.jobs import host as machine
from edgekit.jobs import keys
from edgekit.jobs.store import Entry, Lease, Store
from edgekit.jobs.workers import Confined, Limits, Workers
from edgekit.result import Host

#: How large a file a confined step may write: a float32 file of a small model, or some copies of a large one in one.
_SMALLEST_LIMIT = 2 << 30
_LARGER_THAN_GIVEN = 8


@dataclass(frozen=True)
class Ref:
    """A file that an earlier step made: named by that step's key, opened by its path."""

    entry: Entry
    name: str

    @property
    def path(self) -> Path:
        """Where the file lies.

        Raises:
            FailedError: not among the entry's files: a confined step may say anything.
        """
        if ".." in Path(self.name).parts or Path(self.name).is_absolute():
            raise FailedError(f"a step says that it made {self.name!r}, which is none of its files")
        return self.entry.file(self.name)


@dataclass(frozen=True)
class Given:
    """A file or text that the user handed in: named by its content's hash.

    Attributes:
        value: what the step gets; a ``Path`` in it is handed in where the step's child is confined.
        sha256: of its content.
        untrusted_bytes: size of a file that others made; steps that get it, or anything that was made from it, run in
            confined children. None for what needs no such care.
    """

    value: Any
    sha256: str
    untrusted_bytes: int | None = None


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
        #: Entries that were made from what is not trusted, by their keys.
        self._confined: dict[str, Confined] = {}

    def step(
        self,
        name: str,
        environment: str,
        label: str,
        arguments: dict[str, Any],
        *,
        limits: Limits | None = None,
        reading: Confined | None = None,
    ) -> Entry:
        """Return a step's entry, running it in a child of that kind where the store has none.

        Args:
            name: ``module`` or ``module:function`` below ``edgekit.steps``; ``run`` is the function where none is said.
            environment: kind of child.
            label: where its CPU seconds are booked in the manifest, and what the user is shown.
            arguments: JSON values, ``Ref`` and ``Given``, and dicts of them.
            limits: of this step, where they are not those of all.
            reading: for files of others that the step reads where they lie, and of which it makes plain arrays: it runs
                in a child that is confined so, and what it made can go to any child.
        """
        module, _, inner = name.partition(":")
        function = f"edgekit.steps.{module}:{inner or 'run'}"
        actual = {key: _actual(value) for key, value in arguments.items()}
        identities = {key: _identity(value) for key, value in arguments.items()}
        material = keys.material(name, environment, actual, identities, self.host, keys.installed())
        confined = self._for_whom(arguments)

        def produce(folder: Path) -> dict[str, Any]:
            self.progress("start", label)
            given = {"folder": folder, **actual}
            held = confined or reading
            answer = self.workers.call(environment, function, given, confined=held, limits=limits)
            spent = {"cpu_seconds": answer.cpu_seconds, "peak_rss_bytes": answer.peak_rss_bytes}
            return {"value": answer.value, **spent, "read": {} if held else answer.read}

        made = self.store.make(material, produce)
        # What the user's code reads is known once it ran. Where it has changed since, the entry of what is there now
        # is the answer; that one may have read other files.
        while made.reused and not confined and (read := user_code.changed(made.value["read"])):
            material = {**material, "read": [*material.get("read", ()), read]}
            made = self.store.make(material, produce)
        self.ledger.tools |= {tool: version for tool, version in material["tools"].items() if version}
        if confined:
            self._confined[made.key] = confined
        self._book(made, label)
        return Entry(made.key, made.value["value"], made.folder, made.reused)

    def _for_whom(self, arguments: dict[str, Any]) -> Confined | None:
        """For whom the child is confined: for the file of others that a step gets, or that what it gets was made of."""
        for value in arguments.values():
            if isinstance(value, dict) and (found := self._for_whom(value)):
                return found
            if isinstance(value, Ref) and (found := self._confined.get(value.entry.key)):
                return found
            if isinstance(value, Given) and value.untrusted_bytes is not None:
                size = max(_SMALLEST_LIMIT, _LARGER_THAN_GIVEN * value.untrusted_bytes)
                return Confined(value.sha256, self.store.root.parent, size)
        return None

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
        return value.path
    if isinstance(value, dict):
        return {key: _actual(inner) for key, inner in value.items()}
    return value.value if isinstance(value, Given) else value
