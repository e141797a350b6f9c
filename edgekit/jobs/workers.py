"""Work that needs a framework or a runtime runs in child processes; this starts, watches and ends them.

A child is one environment (an interpreter and its environment variables) and serves many requests, so that a
framework is imported once. A crash, a hang or too much memory becomes one ``FailedError`` with the child's log; the
next request starts a fresh child. Several threads may share one ``Workers``: requests to one child take turns.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Generic, TypeVar

import psutil

from edgekit import errors
from edgekit.errors import EdgekitError, FailedError, MissingDependencyError, TimedOutError
from edgekit.jobs import extras, interpreters, interruption, processes, wire
from edgekit.jobs.confine.entering import Bounds
from edgekit.jobs.confine.room import Room
from edgekit.jobs.interpreters import HERE, Interpreter
from edgekit.jobs.scratch import Scratch, sweep
from edgekit.jobs.store import home, sha256_json
from edgekit.jobs.telling.logs import kept as kept_logs
from edgekit.jobs.wire import Json, Tell, Told
from edgekit.signature import Environment

Q = TypeVar("Q")
A = TypeVar("A")

#: A step answers with facts, not with data.
_LONGEST_ANSWER = 64 << 20

#: Files of the largest size that a confined child may keep at one time.
_COPIES = 4


@dataclass(frozen=True)
class Limits:
    """Wall seconds of one request, resident bytes of the child's family; ``fixed``: no option of the command's."""

    seconds: float = 1800.0
    memory_bytes: int | None = None
    fixed: bool = False


@dataclass(frozen=True)
class Confined:
    """For whom a child is confined (see ``edgekit/jobs/confine``); it serves that one thing and no other.

    Attributes:
        serves: the thing's hash.
        near: folder of the store: its files do not change, and are handed in without being copied.
        file_bytes: how large a file the child may write.
        read: further paths that the child may read in place.
    """

    serves: str
    near: Path
    file_bytes: int
    read: tuple[Path, ...] = ()

    def bounds(self, room: Room, limits: Limits) -> Bounds:
        """What the child may use."""
        read = (room.inside, *self.read)
        return Bounds(read, room.out, limits.memory_bytes, limits.seconds, self.file_bytes)


def reading(*paths: Path) -> Confined:
    """For files of others that are looked at where they lie, with what lies beside them (weights, for one).

    The child serves those that have these names, for as long as its workers live.
    """
    folders = tuple(path.resolve().parent for path in paths)
    names = sha256_json([*map(str, paths), identity(*folders)])
    return Confined(names, home(), 2 << 30, folders)


def identity(*paths: Path) -> str:
    """A hash that is another one where something else has taken a path.

    What a child may read is no name to the kernel, but what had that name when the child was started.
    """
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append([str(path.resolve()), stat.st_dev, stat.st_ino])
    return sha256_json(found)


def _key(environment: str, confined: Confined | None, interpreter: Interpreter) -> str:
    own = f"-{interpreter.toolchain}" if interpreter.toolchain else ""
    return f"{environment}{own}-confined" if confined else f"{environment}{own}"


@dataclass(frozen=True)
class Answer(Generic[A]):
    """What a request gave: the step's answer, CPU seconds spent, peak resident bytes of the child so far.

    ``read`` has the files that code of the user's read for it, see ``user_code.read``.
    """

    value: A
    cpu_seconds: float
    peak_rss_bytes: int
    read: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Raised:
    """What a request raised: an error of ``edgekit.errors`` or any other, by its name."""

    type: str
    message: str
    hint: str


@functools.cache
def _starter() -> ThreadPoolExecutor:
    """The thread that starts all children: Linux ends a child together with the *thread* that started it."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgekit-starter")


os.register_at_fork(after_in_child=_starter.cache_clear)  # a forked process has none of its parent's threads


class Worker:
    """One child process."""

    def __init__(
        self,
        environment: str,
        folder: Path,
        interpreter: Interpreter = HERE,
        *,
        confined: Confined | None = None,
        limits: Limits | None = None,
        logs: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            environment: kind of child.
            folder: where its temporary files go, and its log; whoever made the folder removes it.
            interpreter: what it runs on.
            confined: for whom it is confined.
            limits: what a confined child may use.
            logs: where its log goes instead.
        """
        self.environment = environment
        self.interpreter = interpreter
        self.confined = confined
        self.log = (logs or folder) / f"{_key(environment, confined, interpreter)}.log"
        temporary = folder / "tmp"
        temporary.mkdir(exist_ok=True)
        self.room = Room(confined.near) if confined else None
        receive, send = os.pipe()
        root = str(Path(__file__).parent.parent.parent)
        given = {
            **os.environ,
            "TMPDIR": str(temporary),
            **processes.variables(environment),
            "EDGEKIT_ANSWERS": str(send),
            "EDGEKIT_PARENT": str(os.getpid()),
            "PYTHONPATH": os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p),
        }
        if confined and self.room:
            bounds = confined.bounds(self.room, limits or Limits())
            kept = {key: given[key] for key in given if key in processes.KEPT or key.startswith(("LC_", "EDGEKIT_"))}
            given = {
                **kept,
                **processes.variables(environment),
                **processes.CONFINED,
                **self.room.variables,
                **bounds.variables,
            }
        self._answers: IO[bytes] = os.fdopen(receive, "rb", buffering=0)
        try:
            with self.log.open("ab") as stream:
                self._process = subprocess.Popen(
                    [interpreter.python, "-P", "-m", "edgekit.jobs.child"],
                    stdin=subprocess.PIPE,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=[send],
                    env=given,
                    cwd=self.room.out if self.room else None,
                    start_new_session=True,
                )
        except BaseException:  # an interruption, too: no pipe and no room stays
            self._answers.close()
            if self.room:
                self.room.close()
            raise
        finally:
            os.close(send)
        self._watched = psutil.Process(self._process.pid)
        self._pending = bytearray()
        self._requests = 0

    def call(self, step: str, arguments: Mapping[str, Any], limits: Limits, heard: Tell = wire.unheard) -> Answer[Json]:
        """Run one step; raises the step's own ``EdgekitError``, or ``FailedError`` for all else.

        Args:
            step: ``module:function``.
            arguments: values for ``wire.plain``; a path among them is handed in to a confined child that may not read
                it where it lies. ``folder`` is what the step writes into.
            limits: of this request.
            heard: what is done with what the step tells; what it raises ends the child.
        """
        room, confined = self.room, self.confined
        if room is None or confined is None:
            return self._ask(step, wire.plain(arguments), limits, heard)

        def brought(path: Path) -> Path:
            lies_open = any(path.is_relative_to(folder) for folder in confined.read)
            return path if lies_open else room.bring(path)

        given = {key: value for key, value in arguments.items() if key != "folder"}
        inside = wire.plain(given, lambda v: brought(Path(os.fspath(v))) if isinstance(v, os.PathLike) else v)
        if "folder" not in arguments:
            return self._ask(step, inside, limits, heard)
        made, folder, most = room.folder(), Path(arguments["folder"]), confined.file_bytes

        def fetched(told: Told) -> None:
            if told.files:
                room.fetch_part(made, told.files, folder, most)
            heard(told)

        answer = self._ask(step, {"folder": str(made), **inside}, limits, fetched)
        room.fetch(made, folder, most)
        return answer

    def _ask(self, step: str, arguments: Mapping[str, Any], limits: Limits, heard: Tell) -> Answer[Json]:
        log_start = self._log_size()
        self._requests += 1
        request = json.dumps({"number": self._requests, "step": step, "arguments": arguments}) + "\n"
        assert self._process.stdin is not None
        deadline = time.monotonic() + limits.seconds
        try:
            try:
                self._process.stdin.write(request.encode())
                self._process.stdin.flush()
            except BrokenPipeError:
                raise EOFError from None
            while isinstance(said := self._read(step, self._wait(step, limits, deadline)), Told):
                heard(said)
        except EOFError:
            raise self._crashed(step, log_start) from None
        except BaseException:  # of whoever hears it, too: the child is in the middle of a request
            self.end()
            raise
        if isinstance(said, Raised):
            raise self._raised(step, said)
        return said

    def _read(self, step: str, line: bytes) -> Told | Raised | Answer[Json]:
        """What a child says."""
        try:
            answer = json.loads(line)
            number = answer.pop("number")
            kind: Any = Told if "told" in answer else Raised if "error" in answer else Answer[Any]
            said: Told | Raised | Answer[Json] = wire.read(kind, answer.get("told", answer.get("error", answer)))
        except (ValueError, AttributeError, KeyError, RecursionError):
            raise FailedError(f"{step} answered with what is no answer: {line[:200]!r}") from None
        if number != self._requests:
            raise FailedError(f"{step} got the answer to request {number} instead of {self._requests}")
        return said

    def _wait(self, step: str, limits: Limits, deadline: float) -> bytes:
        seen = 0
        while self._pending.find(b"\n", seen) < 0 or time.monotonic() > deadline:  # it may tell and tell
            seen = len(self._pending)
            interruption.check()
            if time.monotonic() > deadline:
                raise TimedOutError(
                    f"{step} did not finish within {limits.seconds:.0f} s and was ended",
                    hint="" if limits.fixed else "Give each step more with --timeout SECONDS, or try another target.",
                )
            ended = not self.alive  # before looking: what it wrote before it ended is then there
            try:
                readable, _, _ = select.select([self._answers], [], [], 0 if ended else 0.2)
                chunk = self._answers.read(1 << 16) if readable else b""
            except (ValueError, OSError):  # another thread has ended the child, and closed its pipe
                raise EOFError from None
            if readable:
                if not chunk:
                    raise EOFError
                self._pending += chunk
                if len(self._pending) > _LONGEST_ANSWER:
                    raise FailedError(f"{step} answered with more than {_LONGEST_ANSWER >> 20} MiB and was ended")
            elif ended:  # the pipe is not closed where a process that it started lives on
                raise EOFError
            elif self._fills_the_disk():
                raise FailedError(f"{step} filled the disk with more than any model takes and was ended")
            elif limits.memory_bytes is not None and processes.resident(self._watched) > limits.memory_bytes:
                raise FailedError(
                    f"{step} took more than {limits.memory_bytes / 2**20:.0f} MiB of memory and was ended",
                    hint="" if limits.fixed else "Raise --memory-limit, or use a smaller model.",
                )
        line, _, self._pending = self._pending.partition(b"\n")
        return bytes(line)

    def _fills_the_disk(self) -> bool:
        """Whether a confined child keeps more than any model takes, under names or without."""
        if self.room is None or self.confined is None:
            return False
        most = _COPIES * self.confined.file_bytes
        return self.room.exceeds(most) or processes.nameless(self._process.pid) > most

    def _crashed(self, step: str, log_start: int) -> FailedError:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return FailedError(f"{step} ended its process ({how}): {self._tail(log_start)}")

    def _raised(self, step: str, error: Raised) -> EdgekitError | interruption.Interrupted:
        if error.type == KeyboardInterrupt.__name__:  # by the user's own code
            return interruption.ended_by(signal.SIGINT)
        kind = getattr(errors, error.type, None)
        if isinstance(kind, type) and issubclass(kind, EdgekitError) and kind is not EdgekitError:
            return kind(error.message, hint=error.hint)
        if error.type in ("ModuleNotFoundError", "ImportError"):
            missing = error.message.partition("'")[2].partition("'")[0].split(".")[0]
            if extra := extras.of_module(missing):
                return MissingDependencyError(
                    f"{missing} is not installed", hint=f"Run: pip install 'edgekit[{extra}]'"
                )
        named = step.removeprefix("edgekit.steps.").removesuffix(":run")
        return FailedError(f"{named} raised {error.type}: {error.message}")

    def _log_size(self) -> int:
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0

    def _tail(self, start: int, size: int = 600) -> str:
        try:
            with self.log.open("rb") as stream:
                stream.seek(start)
                lines = stream.read().decode(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return "its workers were closed"
        return "\n".join(lines[-8:])[-size:] or "nothing in its log"

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it and all that it started, and wait for it."""
        family = processes.descendants(self._process.pid) if self.alive else []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for member in family:  # also those that took a session of their own
            with contextlib.suppress(psutil.Error):
                member.kill()
        self._process.wait()
        self._answers.close()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self.room:
            self.room.close()


#: Of the folder that holds the logs and the temporary files of one ``Workers``.
_FOLDER = "edgekit-"


class Workers:
    """All children of one run, one per environment, started when first needed; a context manager.

    Threads may share one: a request waits for its turn at the child of its environment. ``logs`` is where they write.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits(memory_bytes=self.default_memory_bytes(), fixed=True)
        self._children: dict[str, Worker] = {}
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._closed = False
        interruption.opened(self, self.close)
        sweep(Path(tempfile.gettempdir()), _FOLDER)
        self._folder = Scratch(Path(tempfile.gettempdir()), _FOLDER)
        self.logs = kept_logs() or self._folder.path

    @staticmethod
    def default_memory_bytes() -> int:
        """80 % of the machine's memory."""
        return int(psutil.virtual_memory().total * 0.8)

    def call(
        self,
        environment: Environment | str,
        step: str,
        arguments: Mapping[str, Any],
        *,
        confined: Confined | None = None,
        limits: Limits | None = None,
        heard: Tell = wire.unheard,
    ) -> Answer[Json]:
        """Run a function in a child of that kind; a child that fails is not used again.

        Args:
            environment: kind of child.
            step: ``module:function``.
            arguments: by name, see ``Worker.call``.
            confined: run it in a child that is confined and serves this alone.
            limits: of this request, where they are not those of all.
            heard: see ``Worker.call``.
        """
        interpreter, limits = interpreters.for_job(environment, arguments), limits or self.limits
        key = _key(environment, confined, interpreter)
        with self._turns[key]:
            worker = self._children.get(key)
            if worker is not None and (worker.confined, worker.interpreter) != (confined, interpreter):
                self._children.pop(key).end()
                worker = None
            if worker is None or not worker.alive:
                worker = _starter().submit(self._start, key, environment, interpreter, confined, limits).result()
            try:
                return worker.call(step, arguments, limits, heard)
            except BaseException as error:  # Ctrl-C while waiting, too: the child is in the middle of a request
                if isinstance(error, FailedError) or not isinstance(error, EdgekitError):
                    self._children.pop(key, None)
                    worker.end()
                raise

    def ask(
        self,
        environment: Environment | str,
        step: Callable[[Path, Q], A],
        folder: Path,
        request: Q,
        *,
        confined: Confined | None = None,
        limits: Limits | None = None,
        heard: Tell = wire.unheard,
        left: Path | None = None,
    ) -> Answer[A]:
        """Run a step as ``call`` does, and hold its answer to what the step may return.

        ``left`` is a folder that the step left when it did not end, and goes on from.
        """
        name = wire.name_of(step)
        given = {"folder": folder, "request": request, **({"left": left} if left else {})}
        answered = self.call(environment, name, given, confined=confined, limits=limits, heard=heard)
        try:
            return replace(answered, value=wire.answer(step, answered.value))
        except ValueError as error:
            raise FailedError(f"{name} answered with what is no answer: {wire.first(error)}") from None

    def _start(
        self, key: str, environment: str, interpreter: Interpreter, confined: Confined | None, limits: Limits
    ) -> Worker:
        """Start a child and register it, in the starter's thread, where no signal comes between the two."""
        if self._closed:
            raise RuntimeError("these workers are closed")
        folder = self._folder.path
        worker = Worker(environment, folder, interpreter, confined=confined, limits=limits, logs=self.logs)
        self._children[key] = worker
        return worker

    def close(self) -> None:
        """End all children now."""
        try:
            _starter().submit(self._end_all).result()  # after a start that is under way
        except RuntimeError:  # the interpreter ends, and its threads have ended
            self._end_all()
        self._folder.close()
        interruption.closed(self)

    def _end_all(self) -> None:
        self._closed = True
        while self._children:
            _, worker = self._children.popitem()
            worker.end()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
