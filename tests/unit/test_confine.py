"""What a confined child can do: it is handed hostile code, with no check of any file before it."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from edgekit.errors import DamagedFileError, FailedError, TimedOutError, UnsafeInputError, UsageError
from edgekit.jobs.confine import kernel, untrusted
from edgekit.jobs.confine.room import Room, copy
from edgekit.jobs.workers import Confined, Limits, Workers

STEPS = str(Path(__file__).parent / "children")
DENIED = "PermissionError"
landlock = pytest.mark.skipif(kernel.landlock_version() == 0, reason="this kernel has no Landlock")


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", STEPS)
    monkeypatch.setenv("HUB_TOKEN", "secret")
    with Workers(Limits(seconds=30, memory_bytes=1 << 30)) as made:
        yield made


@pytest.fixture
def near(tmp_path):
    """The store's folder, in a user's folder that the child has no business in."""
    (tmp_path / "private").write_text("secret")
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def call(workers, near):
    def run(step, serves="a model", **arguments):
        confined = Confined(serves, near, file_bytes=1 << 20)
        return workers.call("runtime", f"hostile:{step}", arguments, confined=confined).value

    return run


@landlock
def test_it_reads_python_and_what_it_was_handed_and_nothing_else(call, tmp_path):
    (tmp_path / "given").write_text("for you")
    found = call("handed", given=tmp_path / "given")
    assert found["says"] == "for you" and found["at"] != str(tmp_path / "given")
    private = [str(tmp_path / "private"), str(tmp_path / "given")]
    processes = [f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}/cmdline", "/proc/1/environ"]
    secrets = [*private, *processes, "/etc/passwd", "/etc/hostname", "/proc/self/root/etc/passwd"]
    assert call("read", paths=secrets) == dict.fromkeys(secrets, DENIED)
    folders = [str(Path.home()), str(tmp_path), "/etc", "/proc", "/tmp", "/"]
    assert call("listed", paths=folders) == dict.fromkeys(folders, DENIED)
    [python] = call("read", paths=[os.__file__]).values()
    assert python.startswith('r"""OS routines')


@landlock
def test_it_writes_into_its_own_folder_only(call, tmp_path, near):
    outside = [
        str(tmp_path / "new"),
        str(tmp_path / "private"),
        str(near / "new"),
        "/tmp/edgekit-owned",
        STEPS + "/new",
    ]
    assert call("write", paths=outside) == dict.fromkeys(outside, DENIED)
    assert (tmp_path / "private").read_text() == "secret"
    kept = near / "store" / "entry"
    kept.parent.mkdir()
    kept.write_text("a step's file")
    for given in (kept, tmp_path / "private"):
        assert call("change", given=given) == DENIED
    assert kept.read_text() == "a step's file"


@landlock
def test_it_makes_files_and_folders_but_no_links_pipes_or_devices(call, tmp_path):
    out = tmp_path / "made"
    out.mkdir()
    found = call("make", folder=out)
    assert found.pop("second name") in (DENIED, "OSError")
    assert found == {"file": 4, "folder": "done", "moved": "done", "link": DENIED, "pipe": DENIED, "device": DENIED}
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*")) == ["folder", "folder/moved"]


def test_it_has_no_network(call, tmp_path):
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        found = call("connect", port=tcp.getsockname()[1], unix=str(tmp_path / "socket"))
    assert found == {"tcp": DENIED, "unix": DENIED, "udp": DENIED, "netlink": DENIED, "pair": True}


def test_it_reaches_no_service_that_takes_datagrams(call, tmp_path):
    """Not by an end of a pair of its own either, which needs no call of socket(2)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "service"))
        service.setblocking(False)
        assert call("send_datagram", unix=str(tmp_path / "service")) == [DENIED, DENIED]
        with pytest.raises(BlockingIOError):
            service.recv(100)


@pytest.mark.parametrize("own", [False, True])
def test_it_changes_nothing_that_is_said_of_a_file(call, tmp_path, own):
    """Landlock guards bytes and names alone; shutil copies modes and times, and fails where it is refused to."""
    file = tmp_path / "private"
    if own:
        file = tmp_path / "home" / "store" / "file"
        file.parent.mkdir()
        file.write_text("of the store")
    file.chmod(0o600)
    before = file.stat()
    found = call("change_facts", given=file) if own else call("change_facts", given=str(file))
    assert found == {"mode": "done", "times": "done", "owner": DENIED, "attribute": DENIED, "length": DENIED}
    after = file.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_size) == (before.st_mode, before.st_mtime_ns, before.st_size)
    assert os.listxattr(file) == []


def test_it_sets_modes_of_what_it_has_opened_but_none_that_serves_others(call, tmp_path):
    (tmp_path / "out").mkdir()
    assert call("change_modes", folder=tmp_path / "out") == ["0o200", "0o664", "0o600", "0o600"]


def test_it_cannot_send_signals_to_others(call):
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        assert call("send", pid=os.getpid()) in (DENIED, "ProcessLookupError")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == []


@landlock
def test_what_it_executes_is_confined_and_no_file_of_its_own(call, tmp_path):
    assert call("execute", given=str(tmp_path / "private")) == {"system's": 0, "own": DENIED, "a child's": 1}


def test_the_users_variables_stay_outside(call):
    found = call("environment")
    assert "HUB_TOKEN" not in found
    assert not {"EDGEKIT_CONFINED", "EDGEKIT_ANSWERS"} & set(found)
    assert found["HOME"] != os.environ.get("HOME") and found["HOME"].startswith(str(Path(found["TMPDIR"]).parent))
    assert found["OMP_NUM_THREADS"] == "1" and found["PATH"] == os.environ["PATH"]


def test_all_that_it_started_ends_with_it(call, workers, tmp_path):
    if not call("whoami")["processes"]:
        pytest.skip("this system has no process trees for ordinary users")
    [room] = (tmp_path / "home" / "rooms").iterdir()
    assert call("leave_behind", folder=tmp_path / "home")
    workers.close()
    assert not room.exists()
    time.sleep(0.3)
    assert not room.exists()  # nor made again by a process that lives on


def test_memory_time_file_size_and_answers_are_limited(workers, near, tmp_path):
    def call(step, limits=None, **arguments):
        confined = Confined("a model", near, file_bytes=1 << 20)
        return workers.call("runtime", f"hostile:{step}", arguments, confined=confined, limits=limits)

    with pytest.raises(FailedError, match="found no memory for what it needs"):
        call("allocate", size=64 << 30)
    with pytest.raises(FailedError, match="did not finish within 1 s"):
        call("spin", Limits(1.0), seconds=60)
    with pytest.raises(UsageError, match="File too large"):
        call("fill", folder=tmp_path, size=2 << 20)
    with pytest.raises(FailedError, match="filled the disk"):
        call("fill_with_files", folder=tmp_path, count=8, size=900 << 10)
    with pytest.raises(FailedError, match="filled the disk"):
        call("fill_with_files", folder=tmp_path, count=10_001, size=1)
    with pytest.raises(FailedError, match="filled the disk"):
        call("fill_without_names", folder=tmp_path, count=8, size=900 << 10)
    with pytest.raises(FailedError, match="more than 64 MiB"):
        call("answer_with", count=100 << 20)
    call("spin", Limits(3.0), seconds=0)  # starts a child whose requests may take three seconds on each core
    with pytest.raises(FailedError, match="SIGXCPU"):
        call("spin", seconds=25)


def test_folders_in_each_other_by_the_thousand_are_refused_and_removed(workers, near, tmp_path):
    """What recurses through them would end this process, and what stays would end each later run at its start."""

    def nested(depth):
        (tmp_path / str(depth)).mkdir()
        confined = Confined(f"a model {depth}", near, file_bytes=1 << 20)
        given = {"folder": tmp_path / str(depth), "depth": depth}
        return workers.call("runtime", "hostile:nest", given, confined=confined).value

    with pytest.raises(FailedError, match=r"filled the disk|not let out"):
        nested(1500)
    assert nested(20) == 20
    workers.close()
    assert list((near / "rooms").iterdir()) == []


def test_its_cpu_time_is_measured_finely(call):
    """A limit of CPU time makes the process's own clock one of ticks: short models took none, or a tick."""
    found = sorted(call("clock", count=200))
    assert found[0] > 0 and found[180] < 5 * found[20]


def test_it_serves_one_thing_for_its_life(call, workers):
    first = call("whoami")
    assert call("whoami") == first
    other = call("whoami", serves="another model")
    assert other["pid"] != first["pid"]
    free = workers.call("runtime", "hostile:whoami", {}).value
    assert not any(free[key] for key in ("files", "network", "sockets", "processes"))
    assert call("whoami", serves="another model") == other


def test_a_crash_is_told_as_of_any_child(workers, near):
    confined = Confined("a model", near, file_bytes=1 << 20)
    with pytest.raises(FailedError, match="signal SIGSEGV"):
        workers.call("runtime", "misbehaving:crashes", {}, confined=confined)
    with pytest.raises(FailedError, match="exit code 3"):
        workers.call("runtime", "misbehaving:exits", {}, confined=confined)


# --- the border, from the parent's side: where Landlock is missing these hold by themselves -------------------------


def test_what_is_no_file_is_not_let_out(tmp_path):
    room = Room(tmp_path)
    for name, make in (
        ("link", lambda path: path.symlink_to("/etc/passwd")),
        ("pipe", os.mkfifo),
        ("folder link", lambda path: path.symlink_to("/etc")),
    ):
        made, out = room.folder(), tmp_path / f"out {name}"
        out.mkdir()
        make(made / "x")
        with pytest.raises(FailedError, match="not let out"):
            room.fetch(made, out, 1 << 20)
        assert list(out.iterdir()) == []
    room.close()


def test_no_more_is_let_out_than_it_may_write_into_a_file(tmp_path):
    """A file that is one hole takes no room where it was made."""
    room = Room(tmp_path)
    made, out = room.folder(), tmp_path / "out"
    (made / "inner").mkdir()
    for name in ("one", "inner/two"):
        with (made / name).open("wb") as file:
            file.truncate(60 << 20)
    out.mkdir()
    with pytest.raises(FailedError, match="larger than what may be copied"):
        room.fetch(made, out, 100 << 20)
    (out / "again").mkdir()
    room.fetch(made, out / "again", 120 << 20)
    assert sum(path.stat().st_size for path in (out / "again").rglob("*") if path.is_file()) == 120 << 20
    room.close()


def test_what_a_user_hands_in_is_copied_and_no_link_in_it_followed(tmp_path):
    room = Room(tmp_path / "home")
    given = tmp_path / "model"
    (given / "variables").mkdir(parents=True)
    (given / "variables" / "data").write_text("weights")
    (tmp_path / "typed").symlink_to(given)  # a link that the user typed is his own
    brought = room.bring(tmp_path / "typed")
    assert (brought / "variables" / "data").read_text() == "weights"
    assert not os.path.samefile(brought / "variables" / "data", given / "variables" / "data")
    (given / "variables" / "data").write_text("others")
    assert (room.bring(tmp_path / "typed") / "variables" / "data").read_text() == "others", "it may be another by now"
    (given / "assets").symlink_to("/etc")
    with pytest.raises(UnsafeInputError, match="assets is a link to /etc"):
        copy(given, tmp_path / "copy 1", follow=True)
    (given / "assets").unlink()
    os.mkfifo(given / "pipe")
    with pytest.raises(UnsafeInputError, match="neither a file nor a folder"):
        copy(given, tmp_path / "copy 2", follow=True)
    room.close()


def test_a_file_of_the_store_gets_a_second_name_instead(tmp_path):
    room = Room(tmp_path)
    (tmp_path / "entry").write_text("x")
    assert os.path.samefile(room.bring(tmp_path / "entry"), tmp_path / "entry")
    room.close()


def test_what_takes_too_long_is_not_only_said_to_be_damaged():
    said = r"m.onnx takes too long: the step 'load', .* computes without end"
    with pytest.raises(DamagedFileError, match=said) as error, untrusted.blame("m.onnx"):
        raise TimedOutError("the step 'load', it did not finish", hint="Give it more.")
    assert error.value.hint == "Give it more."
