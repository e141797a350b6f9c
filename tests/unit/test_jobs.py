"""A child that crashes, hangs or eats memory is one failed step; the parent and the next step are unharmed."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from edgekit.errors import FailedError, MissingDependencyError, TimedOutError, UsageError
from edgekit.jobs import interruption
from edgekit.jobs.interruption import Interrupted, listening
from edgekit.jobs.scratch import Scratch, sweep
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
    log = (workers.logs / "runtime.log").read_text()
    assert "noise on stdout" in log
    assert "nor what C code prints" in log
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
    with pytest.raises(FailedError, match=r"RuntimeError: Didn't find op for builtin opcode 'X' \(misbehaving\.py:"):
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


@pytest.mark.parametrize("fixed", [False, True])
def test_only_limits_that_an_option_raises_name_it(workers, tmp_path, fixed):
    workers.limits = Limits(seconds=0.5, fixed=fixed)
    with pytest.raises(TimedOutError) as caught:
        call(workers, "hangs", pid_file=str(tmp_path / "pids"))
    assert ("--timeout" in caught.value.hint) is not fixed


def test_no_memory_is_said_as_such(workers):
    with pytest.raises(FailedError, match="found no memory for what it needs") as caught:
        call(workers, "asks_for_too_much")
    assert caught.value.hint


def test_too_much_memory_is_ended(workers):
    workers.limits = Limits(seconds=60, memory_bytes=300 << 20)
    with pytest.raises(FailedError, match="more than 300 MiB"):
        call(workers, "eats_memory")


def test_a_missing_package_gives_its_install_line(workers):
    with pytest.raises(MissingDependencyError) as caught:
        call(workers, "misses_a_package")
    assert "edgekit[openvino]" in caught.value.hint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_children_end_with_the_parent(tmp_path, monkeypatch, number):
    """Ctrl-C, a polite kill and a hard one: no child survives, within two seconds."""
    program = f"""
        import os, sys
        from edgekit.jobs.interruption import Interrupted, listening
        from edgekit.jobs.workers import Workers
        try:
            with listening(), Workers() as workers:
                workers.call("runtime", "misbehaving:hangs", {{"pid_file": {str(tmp_path / "pids")!r}}})
        except Interrupted as error:
            sys.exit(error.exit_code)
    """
    (tmp_path / "tmp").mkdir()
    paths = os.pathsep.join(filter(None, [STEPS, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    parent = subprocess.Popen(command, env=environment, preexec_fn=heeds_ctrl_c)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child, grandchild = (int(pid) for pid in (tmp_path / "pids").read_text().split())
    start = time.monotonic()
    parent.send_signal(number)
    code = parent.wait(10)
    while _running(child) and time.monotonic() < start + 2:
        time.sleep(0.02)
    assert not _running(child)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
        os.kill(grandchild, signal.SIGKILL)
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        Workers().close()  # the next run sweeps what a killed one left
    else:
        assert code == 128 + number
        assert not _running(grandchild)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_eight_threads_on_one_workers_get_their_own_answers(workers):
    def ask(thread):
        return [call(workers, "add", a=thread * 1000, b=turn).value["sum"] for turn in range(25)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [[thread * 1000 + turn for turn in range(25)] for thread in range(8)]


def test_a_child_outlives_the_thread_that_first_needed_it(workers):
    pids = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: pids.append(call(workers, "add", a=1, b=1).value["pid"]))
        thread.start()
        thread.join()
        time.sleep(0.1)
    assert len(set(pids)) == 1
    assert call(workers, "add", a=1, b=1).value["pid"] == pids[0]


def test_a_failure_in_one_thread_leaves_the_requests_of_others_alone(workers):
    def ask(thread):
        if thread % 4 == 0:
            with pytest.raises(FailedError, match="SIGSEGV"):
                call(workers, "crashes")
        return call(workers, "add", a=thread, b=1).value["sum"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [thread + 1 for thread in range(16)]


def test_closing_ends_the_requests_of_other_threads(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", STEPS)
    workers = Workers(Limits(seconds=60))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call, workers, "hangs", pid_file=str(tmp_path / "pids"))
        while not (tmp_path / "pids").exists():
            time.sleep(0.02)
        workers.close()
        with pytest.raises(FailedError, match="SIGKILL"):
            waiting.result(10)
    with pytest.raises(RuntimeError, match="closed"):
        call(workers, "add", a=1, b=1)


def test_a_child_whose_own_child_holds_its_pipe_is_seen_to_have_crashed(workers):
    with pytest.raises(FailedError, match="exit code 3"):
        call(workers, "exits_beside_a_fork")


def test_what_is_no_answer_fails_the_step_alone(workers):
    cost = '"cpu_seconds": 0, "peak_rss_bytes": 0'
    wrong = ['"error": {}', '"error": [1]', '"error": {"type": 1, "message": [], "hint": ""}', '"value": 1']
    wrong += ['"value": 1, "cpu_seconds": "", "peak_rss_bytes": 0']
    documents = [*(f'{{"number": 1, {rest}}}' for rest in wrong), f'{{"number": 99, "value": 1, {cost}}}']
    for text in ("null", "{", '{"number": 1}', *documents):
        with pytest.raises(FailedError, match="answer"):
            call(workers, "answers", text=text)
    with pytest.raises(FailedError, match="raised EdgekitError: mine"):  # which would be a bug of ours
        call(workers, "answers", text='{"number": 1, "error": {"type": "EdgekitError", "message": "mine", "hint": ""}}')
    assert call(workers, "add", a=2, b=2).value["sum"] == 4


def test_children_have_a_temporary_folder_that_goes_with_them(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", STEPS)
    with Workers() as workers:
        folder = Path(call(workers, "environment", name="TMPDIR").value)
        assert folder.is_dir()
    assert not folder.exists()


def test_listening_in_a_thread_changes_nothing():
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_listens).result() == signal.getsignal(signal.SIGTERM)


def _listens():
    with listening():
        return signal.getsignal(signal.SIGTERM)


def test_a_signal_that_the_program_ignores_or_handles_itself_stays_its_own():
    mine = lambda number, frame: None  # noqa: E731
    before = signal.signal(signal.SIGTERM, mine), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening():
            assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == (mine, signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGHUP, before[1])


def test_only_the_first_signal_interrupts_and_all_that_was_opened_is_closed(tmp_path):
    """A second Ctrl-C in the middle of unwinding, and a first one that Python swallows."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught, listening():
        lost = Scratch(tmp_path, "x-")  # nobody closes it
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            assert lost.path.is_dir()
    assert caught.value.exit_code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before
    with pytest.raises(Interrupted), listening():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(1)
        interruption.check()


def test_scratch_folders_of_the_living_are_not_swept(tmp_path):
    with Scratch(tmp_path, "x-") as mine:
        (mine / "f").write_text("x")
        (tmp_path / "x-0123456789ab").mkdir()
        (tmp_path / "x-ba9876543210").symlink_to(mine)
        (tmp_path / "x-holiday").mkdir()
        assert sweep(tmp_path, "x-") == 1
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["x-ba9876543210", "x-holiday", mine.name])
        assert (mine / "f").read_text() == "x"
    assert not mine.exists()


def heeds_ctrl_c():
    """A test run that was started in the background ignores SIGINT, and what it starts would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
