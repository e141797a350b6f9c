"""Steps of a confined child that try what a hostile model file would: each says what came of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from edgekit.proof import latency


def _try(action):
    try:
        found = action()
    except OSError as error:
        return type(error).__name__
    return found if isinstance(found, str | bool | int) else "done"


def read(paths):
    return {path: _try(lambda path=path: Path(path).read_text()) for path in paths}


def handed(given):
    return {"at": given, "says": Path(given).read_text()}


def listed(paths):
    return {path: _try(lambda path=path: len(os.listdir(path))) for path in paths}


def write(paths):
    return {path: _try(lambda path=path: Path(path).write_text("owned")) for path in paths}


def environment():
    return dict(os.environ)


def make(folder):
    here = Path(folder)
    made = {
        "file": lambda: (here / "file").write_text("text"),
        "folder": lambda: (here / "folder").mkdir(),
        "moved": lambda: (here / "file").rename(here / "folder" / "moved"),
        "link": lambda: (here / "link").symlink_to("/etc/passwd"),
        "second name": lambda: os.link("/usr/bin/env", here / "env"),
        "pipe": lambda: os.mkfifo(here / "pipe"),
        "device": lambda: os.mknod(here / "device", 0o20600, os.makedev(1, 3)),
    }
    return {name: _try(action) for name, action in made.items()}


def change(given):
    return _try(lambda: Path(given).write_text("owned"))


def change_facts(given):
    """What is said of a file beside its bytes."""
    made = {
        "mode": lambda: os.chmod(given, 0o777),
        "times": lambda: os.utime(given, (1, 1)),
        "owner": lambda: os.chown(given, os.getuid(), os.getgid()),
        "attribute": lambda: os.setxattr(given, "user.owned", b"1"),
        "length": lambda: os.truncate(given, 0),
    }
    return {name: _try(action) for name, action in made.items()}


def change_modes(folder):
    """Of an open file of its own, as a copy in C++ does; what the mode is after each."""
    path = Path(folder) / "made"
    path.write_text("made")
    found = []
    for mode in (0o200, 0o664, 0o666, 0o4755):
        with path.open() as file:
            os.fchmod(file.fileno(), mode)
            found.append(oct(os.fstat(file.fileno()).st_mode & 0o7777))
            os.fchmod(file.fileno(), 0o600)
    return found


def send_datagram(unix):
    def send(connect):
        for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
            with one:
                if connect:
                    one.connect(unix)
                    one.send(b"owned")
                else:
                    one.sendto(b"owned", unix)

    return [_try(lambda connect=connect: send(connect)) for connect in (False, True)]


def connect(port, unix):
    def reach(family, address):
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.settimeout(2)
            made.connect(address)

    return {
        "tcp": _try(lambda: reach(socket.AF_INET, ("127.0.0.1", port))),
        "unix": _try(lambda: reach(socket.AF_UNIX, unix)),
        "udp": _try(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()),
        "netlink": _try(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
        "pair": _try(lambda: [end.close() for end in socket.socketpair()] and True),
    }


def send(pid):
    return _try(lambda: os.kill(pid, signal.SIGUSR1))


def execute(given):
    copy = Path("true")  # the working folder is the one that may be written
    copy.write_bytes(Path("/usr/bin/true").read_bytes())
    copy.chmod(0o755)
    return {
        "system's": _try(lambda: subprocess.run(["/usr/bin/true"]).returncode),
        "own": _try(lambda: subprocess.run([copy.absolute()]).returncode),
        "a child's": subprocess.run([sys.executable, "-c", f"open({given!r})"], capture_output=True).returncode,
    }


def leave_behind(folder):
    """A process that takes a session of its own and loses its parent."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                (Path(folder) / "alive").write_text(str(time.time()))
                time.sleep(0.05)
        os._exit(0)
    os.wait()
    time.sleep(0.3)
    return (Path(folder) / "alive").exists()


def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return True


def clock(count):
    """How much CPU time each of some short calculations took."""
    found = []
    for _ in range(count):
        start = latency.cpu_seconds()
        sum(range(10_000))
        found.append(latency.cpu_seconds() - start)
    return found


def fill(folder, size):
    (Path(folder) / "large").write_bytes(bytes(size))


def fill_with_files(folder, count, size):
    """Each file is within the limit; then it waits."""
    for number in range(count):
        (Path(folder) / str(number)).write_bytes(bytes(size))
    time.sleep(30)


def fill_without_names(folder, count, size):
    """Files that are open and have no name; then it waits."""
    held = []
    for number in range(count):
        path = Path(folder) / str(number)
        held.append(path.open("wb"))
        held[-1].write(bytes(size))
        held[-1].flush()
        path.unlink()
    time.sleep(30)


def nest(folder, depth):
    """Folders in each other, deeper than Python recurses and than a path can say."""
    os.chdir(folder)
    for _ in range(depth):
        os.mkdir("n" * 8)
        os.chdir("n" * 8)
    return depth


def allocate(size):
    return len(bytearray(size))


def answer_with(count):
    return "x" * count


def whoami():
    from edgekit.jobs.confine import entering

    return {"pid": os.stat("/proc/self").st_ino, **entering.held().__dict__}
