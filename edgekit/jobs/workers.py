"""Work that needs a framework or a runtime runs in child processes; this starts, watches and ends them.

A child is one environment (an interpreter and its environment variables) and serves many requests, so that a
framework is imported once. A crash, a hang or too much memory becomes one ``FailedError`` with the child's log; the
next request starts a fresh child.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import psutil

from edgekit import errors
from edgekit.errors import EdgekitError, FailedError, MissingDependencyError
from edgekit.signature import Environment

#: What each kind of child sets before its framework is imported.
_VARIABLES: dict[str, dict[str, str]] = {
    "keras-tensorflow": {"KERAS_BACKEND": "tensorflow"},
    "keras-torch": {"KERAS_BACKEND": "torch"},
    "torch": {},
    "tf-keras": {"TF_USE_LEGACY_KERAS": "1"},
    "runtime": {},
    "data": {},
    # The one kind of child that may see a GPU.
    "gpu": {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")},
}
_COMMON = {
    # One thread: sums come out in one order, and no pool spins for work while another process needs the core (on two
    # busy cores, two OpenMP threads spent 2 to 30 times the CPU of one).
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "PYTHONUNBUFFERED": "1",
}

#: Import name -> what to install, for the modules that an extra brings.
_EXTRAS = {
    "tensorflow": "keras", "keras": "keras", "tf_keras": "keras", "torch": "torch", "litert_torch": "litert",
    "ai_edge_litert": "litert", "ai_edge_quantizer": "litert", "onnx": "onnx", "onnxruntime": "onnx",
    "onnxscript": "onnx", "tf2onnx": "onnx", "openvino": "openvino", "nncf": "openvino", "torchao": "litert",
    "executorch": "executorch", "coremltools": "coreml", "cv2": "data", "sklearn": "data",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Limits of one request: wall seconds, and resident bytes of the child with its descendants."""

    seconds: float = 1800.0
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a request gave: the step's JSON value, CPU seconds spent, peak resident bytes of the child so far."""

    value: Any
    cpu_seconds: float
    peak_rss_bytes: int


def _die_with_parent() -> None:
    """Ask Linux to kill the child when its parent dies, whatever the reason."""
    with contextlib.suppress(OSError, AttributeError):  # other systems have no prctl: atexit and Ctrl-C still work
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Worker:
    """One child process."""

    def __init__(self, environment: str, log: Path) -> None:
        self.environment = environment
        self.log = log
        receive, send = os.pipe()
        variables = {**os.environ, **_COMMON, **_VARIABLES[environment], "EDGEKIT_ANSWERS": str(send)}
        root = str(Path(__file__).parent.parent.parent)
        variables["PYTHONPATH"] = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edgekit.jobs.child"],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                pass_fds=[send],
                env=variables,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        os.close(send)
        self._answers: IO[bytes] = os.fdopen(receive, "rb", buffering=0)
        self._pending = b""

    def call(self, step: str, arguments: Mapping[str, Any], limits: Limits) -> Answer:
        """Run one step; raises the step's own ``EdgekitError``, or ``FailedError`` for all else."""
        log_start = self.log.stat().st_size
        request = json.dumps({"step": step, "arguments": arguments}) + "\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
            answer = self._wait(step, limits)
        except (BrokenPipeError, EOFError):
            raise self._crashed(step, log_start) from None
        if "error" in answer:
            raise self._raised(step, answer["error"])
        return Answer(**answer)

    def _wait(self, step: str, limits: Limits) -> dict[str, Any]:
        deadline = time.monotonic() + limits.seconds
        process = psutil.Process(self._process.pid)
        while b"\n" not in self._pending:
            readable, _, _ = select.select([self._answers], [], [], 0.2)
            if readable:
                chunk = self._answers.read(1 << 16)
                if not chunk:
                    raise EOFError
                self._pending += chunk
            elif time.monotonic() > deadline:
                self.end()
                raise FailedError(
                    f"{step} did not finish within {limits.seconds:.0f} s and was ended",
                    hint="Raise --timeout, or try another target.",
                )
            elif limits.memory_bytes is not None and _resident(process) > limits.memory_bytes:
                self.end()
                raise FailedError(
                    f"{step} took more than {limits.memory_bytes / 2**20:.0f} MiB of memory and was ended",
                    hint="Raise --memory-limit, or use a smaller model.",
                )
        line, _, self._pending = self._pending.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _crashed(self, step: str, log_start: int) -> FailedError:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return FailedError(f"{step} ended its process ({how}): {self._tail(log_start)}")

    def _raised(self, step: str, error: dict[str, Any]) -> EdgekitError:
        kind = getattr(errors, error["type"], None)
        if isinstance(kind, type) and issubclass(kind, EdgekitError):
            known: EdgekitError = kind(error["message"], hint=error["hint"])
            return known
        if error["type"] in ("ModuleNotFoundError", "ImportError"):
            missing = error["message"].partition("'")[2].partition("'")[0].split(".")[0]
            if missing in _EXTRAS:
                install = f"pip install 'edgekit[{_EXTRAS[missing]}]'"
                return MissingDependencyError(f"{missing} is not installed", hint=f"Run: {install}")
        return FailedError(f"{step} raised {error['type']}: {error['message']}")

    def _tail(self, start: int, size: int = 600) -> str:
        with self.log.open("rb") as stream:
            stream.seek(start)
            lines = stream.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-8:])[-size:] or "nothing in its log"

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it and all that it started, and wait for it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._answers.close()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def _resident(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; 0 where it has just ended."""
    try:
        family = [process, *process.children(recursive=True)]
        return sum(int(member.memory_info().rss) for member in family)
    except psutil.Error:
        return 0


class Workers:
    """All children of one run, one per environment, started when first needed; a context manager."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits(memory_bytes=self.default_memory_bytes())
        self._children: dict[str, Worker] = {}
        self._logs = tempfile.TemporaryDirectory(prefix="edgekit-logs-")

    @staticmethod
    def default_memory_bytes() -> int:
        """80 % of the machine's memory."""
        return int(psutil.virtual_memory().total * 0.8)

    def call(self, environment: Environment | str, step: str, arguments: Mapping[str, Any]) -> Answer:
        """Run a step in a child of that kind; a child that fails is not used again."""
        worker = self._children.get(environment)
        if worker is None or not worker.alive:
            worker = Worker(environment, Path(self._logs.name) / f"{environment}.log")
            self._children[environment] = worker
        try:
            return worker.call(step, arguments, self.limits)
        except BaseException as error:  # Ctrl-C while waiting, too: the child is then in the middle of a request
            if isinstance(error, FailedError) or not isinstance(error, EdgekitError):
                self._children.pop(environment).end()
            raise

    def log(self, environment: str) -> str:
        """Everything that a kind of child wrote, for reports."""
        path = Path(self._logs.name) / f"{environment}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """End all children now."""
        for worker in self._children.values():
            worker.end()
        self._children.clear()
        self._logs.cleanup()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def interrupts_as_keyboard() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, so that children and scratch folders go either way."""

    def raise_interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
