"""A child that crashes, hangs or eats memory is one failed step; the parent and the next step are unharmed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from edgekit.errors import FailedError, MissingDependencyError, UsageError
from edgekit.jobs.workers import Limits, Workers

STEPS = str(Path(__file__).parent / "children")


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", STEPS)
    with Workers(Limits(seconds=30)) as made:
        yield made


def call(workers, step, environment="runtime", **arguments):
    return workers.call(environment, f"misbehaving:{step}", arguments)


def test_one_child_serves_many_requests_and_noise_stays_in_its_log(workers):
    first, second = call(workers, "add", a=1, b=2), call(workers, "add", a=3, b=4)
    assert (first.value["sum"], second.value["sum"]) == (3, 7)
    assert first.value["pid"] == second.value["pid"] != os.getpid()
    assert "noise on stdout" in workers.log("runtime")
    assert "nor what C code prints" in workers.log("runtime")
    assert first.peak_rss_bytes > 5e6
    assert 0 <= second.cpu_seconds < first.cpu_seconds  # the first pays for the interpreter


def test_keras_backend_is_chosen_per_child(workers):
    assert call(workers, "environment", "keras-torch", name="KERAS_BACKEND").value == "torch"
    assert call(workers, "environment", "keras-tensorflow", name="KERAS_BACKEND").value == "tensorflow"


def test_edgekit_errors_keep_their_type_and_hint(workers):
    with pytest.raises(UsageError, match="no such layer") as caught:
        call(workers, "usage")
    assert caught.value.hint == "Name another."


def test_other_errors_become_failed_with_type_and_first_line(workers):
    with pytest.raises(FailedError, match=r"RuntimeError: Didn't find op for builtin opcode 'X'$"):
        call(workers, "raises")


@pytest.mark.parametrize(("step", "how"), [("crashes", "SIGSEGV"), ("exits", "exit code 3")])
def test_a_crash_is_one_failed_step(workers, step, how):
    before = call(workers, "add", a=1, b=1).value["pid"]
    with pytest.raises(FailedError, match=how) as caught:
        call(workers, step)
    if step == "crashes":
        assert "last words" in str(caught.value)
    assert call(workers, "add", a=1, b=1).value["pid"] != before


def test_a_hang_is_ended_with_its_grandchildren(workers, tmp_path):
    workers.limits = Limits(seconds=1.5)
    with pytest.raises(FailedError, match="did not finish within 2 s"):
        call(workers, "hangs", pid_file=str(tmp_path / "pids"))
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    deadline = time.monotonic() + 5
    while any(_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_running(pid) for pid in pids)
    workers.limits = Limits(seconds=30)
    assert call(workers, "add", a=2, b=2).value["sum"] == 4


def test_too_much_memory_is_ended(workers):
    workers.limits = Limits(seconds=60, memory_bytes=300 << 20)
    with pytest.raises(FailedError, match="more than 300 MiB"):
        call(workers, "eats_memory")


def test_a_missing_package_gives_its_install_line(workers):
    with pytest.raises(MissingDependencyError) as caught:
        call(workers, "misses_a_package")
    assert "edgekit[openvino]" in caught.value.hint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_children_end_with_the_parent(tmp_path, number):
    """Ctrl-C, a polite kill and a hard one: no child survives, within two seconds."""
    program = f"""
        import os, sys
        from edgekit.jobs.workers import Workers, interrupts_as_keyboard
        try:
            with interrupts_as_keyboard(), Workers() as workers:
                workers.call("runtime", "misbehaving:hangs", {{"pid_file": {str(tmp_path / "pids")!r}}})
        except KeyboardInterrupt:
            sys.exit(130)
    """
    environment = {**os.environ, "PYTHONPATH": STEPS}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    parent = subprocess.Popen(command, env=environment, preexec_fn=heeds_ctrl_c)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = int((tmp_path / "pids").read_text().split()[0])
    start = time.monotonic()
    parent.send_signal(number)
    code = parent.wait(10)
    while _running(child) and time.monotonic() < start + 2:
        time.sleep(0.02)
    assert not _running(child)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130)


def heeds_ctrl_c():
    """A test run that was started in the background ignores SIGINT, and what it starts would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
