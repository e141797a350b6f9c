"""Confining this process, before it imports anything that could be attacked."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from edgekit.jobs.confine import kernel

#: What every program reads: libraries, time zone; facts about the machine; where there is nothing to be read.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store")
_FACTS = (
    "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
    "/proc/filesystems", "/proc/sys/vm/overcommit_memory", "/sys/devices/system", "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
#: Frameworks map more memory than they use: stacks of threads, arenas.
_MAPPED_BYTES = 4 << 30
#: Requests that a child may serve with its CPU time used up in each.
_REQUESTS = 20
_PROCESSES = 4096
_VARIABLE = "EDGEKIT_CONFINED"


@dataclass(frozen=True)
class Bounds:
    """What a confined child may use.

    Attributes:
        read: what it was handed, beside what every child reads.
        write: the one folder that it may write into.
        memory_bytes: resident memory; None for no limit.
        seconds: CPU time of one request on one core.
        file_bytes: size of one file that it writes.
    """

    read: tuple[Path, ...]
    write: Path
    memory_bytes: int | None
    seconds: float
    file_bytes: int

    @property
    def variables(self) -> dict[str, str]:
        """The variable that asks a child to confine itself; ``asked`` reads it."""
        paths = {"read": [str(path) for path in self.read], "write": str(self.write)}
        return {_VARIABLE: json.dumps({**self.__dict__, **paths})}


def asked() -> Bounds | None:
    """What the parent asks this process to keep to; None where it is to be free."""
    text = os.environ.pop(_VARIABLE, None)
    if text is None:
        return None
    found = json.loads(text)
    return Bounds(**{**found, "read": tuple(map(Path, found["read"])), "write": Path(found["write"])})


@dataclass(frozen=True)
class Held:
    """What the system let this process give up.

    Attributes:
        files: whether paths are restricted (Landlock).
        network: whether it has a network of its own, without devices.
        sockets: whether it can make no sockets, and no other system call that reaches other processes.
        processes: whether all that it starts ends with it.
    """

    files: bool
    network: bool
    sockets: bool
    processes: bool


_held = Held(files=False, network=False, sockets=False, processes=False)


def held() -> Held:
    """What holds in this process."""
    return _held


def enter(bounds: Bounds, answers: int) -> None:
    """Confine this process, for its life.

    Where the system allows a process tree of its own, this returns in a grandchild: the process that was started waits
    for it and ends as it ends, and the one between them is the tree's first, with which the whole tree ends.

    Args:
        bounds: what it may use.
        answers: descriptor of the answers, which only the confined process keeps open: its end is then seen.
    """
    global _held
    _limit(bounds)
    if not sys.platform.startswith("linux"):
        return
    isolated = kernel.isolate()
    if isolated:
        _fork_twice(answers)
    kernel.no_new_privileges()
    files = kernel.landlock_version() > 0
    if files:
        kernel.restrict_files(_rights(bounds))
    kernel.drop_capabilities()
    _held = Held(files, isolated, kernel.filter_calls(), isolated)


def allow_cpu(seconds: float) -> None:
    """Let the process use so many more seconds on each core, within what its life is limited to."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime + seconds * (os.cpu_count() or 1)) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _limit(bounds: Bounds) -> None:
    life = int(bounds.seconds * (os.cpu_count() or 1) * _REQUESTS) + 1
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: bounds.file_bytes,
        resource.RLIMIT_CPU: life,
    }
    if bounds.memory_bytes is not None:
        wanted[resource.RLIMIT_DATA] = bounds.memory_bytes + _MAPPED_BYTES
    for limit, most in wanted.items():
        _, hard = resource.getrlimit(limit)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (most, most))


def _rights(bounds: Bounds) -> dict[Path, int]:
    """Path -> what may be done with it; the last of several rights to one path counts."""
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    libraries = {path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path}
    paths = {path for path in sys.path if path}
    return {
        **{Path(path): kernel.RUN for path in (*_SYSTEM, *python)},
        **{Path(path): kernel.READ for path in (*_FACTS, *libraries, *(paths - python))},
        **{Path(path): kernel.USE for path in _DEVICES},
        **dict.fromkeys(bounds.read, kernel.READ),
        bounds.write: kernel.WRITE,
    }


def _fork_twice(answers: int) -> None:
    """Return in a grandchild; see ``enter``."""
    started = os.getpid()
    first = os.fork()
    if first:
        _stand_for(first, answers)
    _end_with(started)
    second = os.fork()
    if second:
        _be_first(second, answers)
    resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))  # of this tree: its users are its own


def _stand_for(first: int, answers: int) -> NoReturn:
    """The process that was started: wait for the tree, end as it ends, and end it when the parent is gone."""
    os.close(answers)
    waited = select.poll()
    descriptor = os.pidfd_open(first)
    waited.register(descriptor, select.POLLIN)
    waited.register(0, 0)  # the parent's end of the requests is closed
    while not any(ready == descriptor for ready, _ in waited.poll()):
        os.kill(first, signal.SIGKILL)
        waited.unregister(0)
    _end_as(os.waitpid(first, 0)[1])


def _be_first(second: int, answers: int) -> NoReturn:
    """The first process of the tree: take in orphans until the one that works has ended, and end the tree with it."""
    os.close(answers)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == second:
            # The first process of a tree cannot be ended by a signal of its own; it says which one it was.
            os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _end_as(status: int) -> NoReturn:
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
    if code > 128:
        signal.signal(code - 128, signal.SIG_DFL) if code - 128 not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), code - 128)
    os._exit(code)


def _end_with(parent: int) -> None:
    """Ask Linux to kill this process when the one that forked it ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() not in (0, parent):  # 0: it lies outside of this process tree
        os._exit(1)
