"""One run's access to children and to the store: every step goes through ``Run.step``.

A step is looked up under the SHA-256 of all that its result depends on (see ``keys``). Only a miss starts a child.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from edgekit import user_code
from edgekit.errors import FailedError, TimedOutError, UsageError
from edgekit.jobs import host as machine
from edgekit.jobs import interpreters, keys, wire
from edgekit.jobs.store import Entry, Lease, Store, sha256_json
from edgekit.jobs.telling.pace import Pace, clock
from edgekit.jobs.telling.times import Times
from edgekit.jobs.wire import Json, Told
from edgekit.jobs.workers import Answer, Confined, Limits, Workers
from edgekit.result import Host

Q = TypeVar("Q")
A = TypeVar("A")

#: How large a file a confined step may write: a float32 file of a small model, or some copies of a large one in one.
_SMALLEST_LIMIT = 2 << 30
_LARGER_THAN_GIVEN = 8


@runtime_checkable
class Identified(Protocol):
    """A value that a key names by less than all that it holds: a file by its content, wherever it lies."""

    def identity(self) -> Json:
        """What a result depends on."""
        ...


@runtime_checkable
class Untrusted(Protocol):
    """A value with a file of others, the sum of whose content names it.

    Steps that get it, or anything that was made from it, run in confined children, where ``untrusted_bytes``, the size
    of the file, is no None.
    """

    @property
    def sha256(self) -> str:
        """Hash of what was handed in."""
        ...

    @property
    def untrusted_bytes(self) -> int | None:
        """How large it is; None for what needs no such care."""
        ...


@dataclass(frozen=True)
class Ref(os.PathLike[str]):
    """A file that an earlier step made: named by that step's key, opened by its path."""

    entry: Entry[Any]
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

    def __fspath__(self) -> str:
        return str(self.path)

    def identity(self) -> Json:
        """The step that made it, and its name."""
        return {"entry": self.entry.key, "file": self.name}


@dataclass(frozen=True)
class Given(os.PathLike[str]):
    """A file that the user handed in: named by its content's hash.

    Attributes:
        path: where it lies.
        sha256: of its content.
        untrusted_bytes: its size where others made it, see ``Untrusted``.
    """

    path: Path
    sha256: str
    untrusted_bytes: int | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def identity(self) -> Json:
        """Its content."""
        return {"sha256": self.sha256}


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
        self,
        workers: Workers,
        store: Store | Lease,
        progress: Callable[[str, str], None],
        host: Host | None = None,
        *,
        about: str = "",
    ) -> None:
        """Work for one model.

        Args:
            workers: where its steps run.
            store: where what they answer is kept.
            progress: called with ``start``, ``done`` or ``reused`` and the name of a step; with ``at`` and what it is
                at, or ``note`` and what stays of that; with ``before`` and what a step took the last time ahead of its
                ``start``, where that is known; with ``detail`` and a sentence for whoever wants to know more.
            host: this machine.
            about: what the user calls the model, for what its steps took before.
        """
        self.workers = workers
        self.store = store
        self.progress = progress
        self.host = host or machine.host()
        self.ledger = Ledger()
        self._about, self._times = about, Times(store.root.parent)
        #: Entries that were made from what is not trusted, by their keys.
        self._confined: dict[str, Confined] = {}
        #: Keys of the steps that ran, by those that they were asked for by: they may read files that have changed.
        self._ran: dict[str, str] = {}

    def step(
        self,
        step: Callable[[Path, Q], A],
        environment: str,
        label: str,
        request: Q,
        *,
        limits: Limits | None = None,
        reading: Confined | None = None,
    ) -> Entry[A]:
        """Return a step's entry, running it in a child of that kind where the store has none.

        Args:
            step: a function of a module of ``edgekit.steps``: of the folder that its files go into, and of its request.
            environment: kind of child.
            label: where its CPU seconds are booked in the manifest, and what the user is shown.
            request: what the step is asked to do; files in it are ``Ref`` or ``Given``.
            limits: of this step, where they are not those of all.
            reading: for files of others that the step reads where they lie, and of which it makes plain arrays: it runs
                in a child that is confined so, and what it made can go to any child.
        """
        material = self._material(step, environment, request)
        asked, unfinished, confined = sha256_json(material), self.store.unfinished, self._for_whom(request)
        own = interpreters.for_job(environment, request)

        def produce(folder: Path) -> Json:
            self._begin(label, f"{wire.name_of(step)} in a child {environment} of {own.python}")
            key, held, pace = sha256_json(material), confined or reading, Pace()
            self._ran[asked] = key

            def heard(told: Told) -> None:
                if told.files:
                    unfinished.keep(key, folder / told.files, told.answer)
                self.progress(*pace.said(label, told))

            begun, start = unfinished.find(key), time.monotonic()
            left = begun.file("") if begun else None
            try:
                answer = self.workers.ask(
                    environment, step, folder, request, confined=held, limits=limits, heard=heard, left=left
                )
            except TimedOutError as error:
                raise TimedOutError(f"the step {label!r}, {error}", hint=error.hint) from error
            if self._about:
                self._times.took(self._about, label, time.monotonic() - start)
            return wire.plain(replace(answer, read={}) if held else answer)

        made = self.store.make(material, produce)
        # What the user's code reads is known once it ran. Where it has changed since, the entry of what is there now
        # is the answer; that one may have read other files.
        while made.reused and not confined and (read := user_code.changed(_recorded(made).read)):
            material = {**material, "read": [*material.get("read", ()), read]}
            made = self.store.make(material, produce)
        unfinished.drop(made.key)
        self.ledger.tools |= {tool: version for tool, version in material["tools"].items() if version}
        if own.toolchain:  # what it shares with others may be there in other versions
            self.ledger.tools[f"{own.toolchain}'s own environment"] = f"Python {own.version}, numpy {own.has('numpy')}"
        if confined:
            self._confined[made.key] = confined
        recorded = _recorded(made)
        self._book(recorded, made, label)
        try:
            value = wire.answer(step, recorded.value)
        except ValueError as error:
            raise _no_answer(made) from error
        return Entry(made.key, value, made.folder, made.reused)

    def so_far(
        self, step: Callable[[Path, Q], A], environment: str, label: str, request: Q
    ) -> tuple[Entry[A], bool] | None:
        """What there is of a step without running it, and whether it has ended; None where there is nothing."""
        asked = sha256_json(self._material(step, environment, request))
        key = self._ran.get(asked, asked)
        left, confined = self.store.unfinished.find(key), self._for_whom(request)
        if left is None:
            ended = (self.store.root / key).is_dir()
            return (self.step(step, environment, label, request), True) if ended else None
        if confined:
            self._confined[left.key] = confined
        try:
            return replace(left, value=wire.answer(step, left.value)), False
        except ValueError:
            return None

    def _material(self, step: Callable[[Path, Q], A], environment: str, request: Q) -> dict[str, Json]:
        return keys.material(wire.name_of(step), environment, request, _identity(request), self.host)

    def _for_whom(self, request: object) -> Confined | None:
        """For whom the child is confined: for the file of others that a step gets, or that what it gets was made of.

        Code of the user's that it calls has no other rights, but is read where it lies, with what it imports.
        """
        values = [value for _, value in wire.within(request)]
        code = tuple(sorted({Path(value.path).parent for value in values if isinstance(value, user_code.Function)}))
        for value in values:
            if isinstance(value, Ref) and (found := self._confined.get(value.entry.key)):
                return replace(found, read=code)
            if isinstance(value, Untrusted) and value.untrusted_bytes is not None:
                size = max(_SMALLEST_LIMIT, _LARGER_THAN_GIVEN * value.untrusted_bytes)
                return Confined(value.sha256, self.store.root.parent, size, code)
        return None

    def _begin(self, label: str, how: str) -> None:
        """Say that a step begins, and what it took the last time."""
        took = self._times.before(self._about, label) if self._about else None
        if took is not None:
            self.progress("before", clock(took) if took >= 60 else f"{took:.1f} s")
        self.progress("start", label)
        self.progress("detail", f"{how}; its log: {self.workers.logs}")

    def _book(self, answer: Answer[Json], made: Entry[Json], label: str) -> None:
        ledger, kind = self.ledger, label.split(":")[0]
        ledger.cpu_seconds[kind] = round(ledger.cpu_seconds.get(kind, 0.0) + answer.cpu_seconds, 3)
        ledger.peak_rss_bytes = max(ledger.peak_rss_bytes, answer.peak_rss_bytes)
        (ledger.reused if made.reused else ledger.made).append(label)
        self.progress("reused" if made.reused else "done", label)
        spent = f"{answer.cpu_seconds:.1f} CPU s, at most {answer.peak_rss_bytes / 2**20:.0f} MiB"
        self.progress("detail", f"{'took ' if made.reused else ''}{spent}; kept in {made.folder}")


def _recorded(made: Entry[Json]) -> Answer[Json]:
    try:
        return wire.read(Answer[Any], made.value)
    except ValueError as error:
        raise _no_answer(made) from error


def _no_answer(made: Entry[Json]) -> UsageError:
    """The error for an entry that holds what no step can have answered: somebody edited it."""
    return UsageError(f"the store's entry {made.folder} holds no answer", hint="Run `edgekit cache clear`.")


def _identity(request: object) -> Json:
    """A request as a key names it."""

    def leaf(value: Any) -> Any:
        if isinstance(value, Identified):
            return value.identity()
        if isinstance(value, os.PathLike):
            raise TypeError(f"{value} is no file of a step and none that was handed in: its path says nothing of it")
        return value

    return wire.plain(request, leaf)
