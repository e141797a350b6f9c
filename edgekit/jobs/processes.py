"""What a child is told by its environment, and what it and all that it started are and take, as the system tells it."""

from __future__ import annotations

import contextlib
import os
import stat

import psutil

from edgekit import frameworks, toolchains

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
#: What a confined child keeps of the user's variables: tokens and passwords are among the others.
KEPT = (
    "PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH",
)  # fmt: skip

#: PyTorch unpickles tensors alone, whatever the code that calls it asks for.
CONFINED = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}

#: The one kind of child that may see a GPU.
_GPU = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}


def variables(environment: str) -> dict[str, str]:
    """What a kind of child sets in its environment before it imports anything."""
    gpu = _GPU if environment == "gpu" else {}
    return {**_COMMON, **toolchains.variables(), **frameworks.variables(environment), **gpu}


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
