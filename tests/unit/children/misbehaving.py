"""Steps for test_jobs.py: a child that answers, and children that do what converters do on a bad day."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.jobs.wire import Tell, Told, unheard


def add(a, b):
    print("noise on stdout must not reach the answers")
    os.write(1, b"nor what C code prints\n")
    return {"sum": a + b, "pid": os.getpid()}


def environment(name):
    return os.environ.get(name)


def usage():
    raise UsageError("no such layer", hint="Name another.")


def raises():
    raise RuntimeError("Didn't find op for builtin opcode 'X'\nsecond line")


def crashes():
    sys.stderr.write("last words\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)


def exits():
    os._exit(3)


def hangs(pid_file):
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(pid_file, "w") as stream:
        stream.write(f"{os.getpid()} {grandchild.pid}")
    time.sleep(600)


def eats_memory():
    held = []
    while True:
        held.append(bytearray(os.urandom(1 << 20)) * 16)
        time.sleep(0.01)


def asks_for_too_much():
    raise MemoryError


def misses_a_package():
    raise ModuleNotFoundError("No module named 'openvino'")


def exits_beside_a_fork():
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os._exit(3)


def answers(text):
    """Write what is no answer to this request, in the place of one."""
    [descriptor] = [int(fd) for fd in os.listdir("/proc/self/fd") if fd not in "012" and _is_pipe(fd)]
    os.write(descriptor, text.encode() + b"\n")
    time.sleep(20)


def _is_pipe(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    except OSError:
        return False


@dataclass(frozen=True)
class Until:
    """How far to count before the process ends."""

    until: int


def counts(folder: Path, request: Until, left: Path | None = None, tell: Tell = unheard) -> tuple[int, ...]:
    """Count, and tell of every number with a file of it; ends its process behind ``until``."""
    begun = int((left / "number").read_text()) if left else 0
    for number in range(begun + 1, 6):
        place = folder / f"part-{number}"
        place.mkdir()
        (place / "number").write_text(str(number))
        tell(Told(f"number {number} of 5", number / 5, lasting=True, answer=[number], files=place.name))
        if number == request.until:
            os._exit(3)
    return tuple(range(begun + 1, 6))


def tells_for_ever(tell: Tell = unheard):
    while True:
        tell(Told("still here", 0.5))


def tells_of(folder, files, tell: Tell = unheard):
    tell(Told("made", 0.5, answer=1, files=files))
