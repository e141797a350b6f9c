"""What a child and all that it started are and take, as the system tells it."""

from __future__ import annotations

import contextlib
import os
import stat

import psutil


def descendants(pid: int) -> list[psutil.Process]:
    """All that a process started, and that they did; none where it has ended."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def nameless(pid: int) -> int:
    """Bytes of files that a process and its descendants hold open and that have no name any more; Linux only."""
    found: dict[tuple[int, int], int] = {}
    for member in (pid, *(child.pid for child in descendants(pid))):
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{member}/fd"):
                with contextlib.suppress(OSError):
                    held = entry.stat()
                    if stat.S_ISREG(held.st_mode) and held.st_nlink == 0:
                        found[held.st_dev, held.st_ino] = 512 * held.st_blocks
    return sum(found.values())


def resident(process: psutil.Process) -> int:
    """Resident bytes of a process and its descendants; 0 where it has just ended."""
    try:
        family = [process, *process.children(recursive=True)]
        return sum(int(member.memory_info().rss) for member in family)
    except psutil.Error:
        return 0
