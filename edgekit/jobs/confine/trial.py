"""What confinement keeps a child from on this machine: found by trying it, not by asking for versions."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.jobs.confine import entering


@dataclass(frozen=True)
class Held:
    """One thing that a confined child is kept from.

    Attributes:
        name: what it is kept from.
        holds: whether it was.
        by: the part of the system that does it.
    """

    name: str
    holds: bool
    by: str


def attempt(secret: str, port: int, parent: int) -> dict[str, bool]:
    """In a confined child: try what it is to be kept from; says of each whether it failed.

    Args:
        secret: a file outside of the child's folder.
        port: where somebody listens on this machine.
        parent: a process that is not the child's.
    """
    return {
        "read": _fails(lambda: Path(secret).read_bytes()),
        "write": _fails(lambda: Path(secret).write_bytes(b"written")),
        "connect": _fails(lambda: socket.create_connection(("127.0.0.1", port), 2).close()),
        "signal": _fails(lambda: os.kill(parent, 0)),
        "allocate": _fails(lambda: bytearray(1 << 50)),
        "outlive": entering.held().processes,
    }


def _fails(action: Callable[[], object]) -> bool:
    try:
        action()
    except (OSError, MemoryError):
        return True
    return False


def held(call: Callable[[dict[str, Any]], dict[str, bool]]) -> list[Held]:
    """In the parent: what a confined child is kept from.

    Args:
        call: runs ``attempt`` with these arguments in a confined child.
    """
    with tempfile.NamedTemporaryFile() as secret, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        found = call({"secret": secret.name, "port": listening.getsockname()[1], "parent": os.getpid()})
    return [Held(name, found[key], by) for key, (name, by) in _NAMES.items()]


_NAMES = {
    "read": ("reading other files", "Landlock"),
    "write": ("writing outside of its folder", "Landlock"),
    "connect": ("reaching a network", "seccomp, network namespace"),
    "signal": ("signals to other processes", "process namespace, Landlock"),
    "allocate": ("memory without end", "resource limits"),
    "outlive": ("processes that outlive it", "process namespace"),
}
