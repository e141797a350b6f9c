"""Signals at any moment: the exit code says which, and no process, no scratch folder and no half artifact stays.

On the toolchain without a vendor, whose conversions take a second and have real children.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import edgekit
from benchmarks.remains import Remains
from edgekit import api
from edgekit.artifact import contents
from edgekit.jobs.store import Store
from tests import null

#: What the command line is, with the null toolchain installed.
PROGRAM = """
import sys
from edgekit.jobs import interruption
interruption.listen()
try:
    from edgekit import api
    from edgekit.cli import main
    from tests import null
    with null.installed():
        api.Workers = null.Children
        main()
except interruption.Interrupted as error:
    interruption.finish()
    sys.exit(error.exit_code)
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    with null.installed():
        yield


class Place(Remains):
    """Where one run lives: whatever it leaves is found here."""

    def __init__(self, folder):
        super().__init__(folder)
        self.folder = folder
        arguments = ["convert", "dense@torch", "--target", "null-fp32", "--json", "-o", str(self.out / "made")]
        self.command = [sys.executable, "-c", PROGRAM, *arguments]
        self.environment = {
            **os.environ,
            "EDGEKIT_HOME": str(self.home),
            "TMPDIR": str(self.tmp),
            "EDGEKIT_PATH": str(null.HERE),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }

    def start(self):
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_heeds_ctrl_c,
        )


def _heeds_ctrl_c():
    """A test run that was started in the background ignores SIGINT, and what it starts would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


#: The handler is the same for all three; a hangup is left to `make nightly`.
KILLS = [
    (signal.SIGTERM, None),
    (signal.SIGINT, None),
    (signal.SIGINT, signal.SIGINT),
    *(
        pytest.param(*kills, marks=pytest.mark.nightly)
        for kills in ((signal.SIGHUP, None), (signal.SIGTERM, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM))
    ),
]
#: How many moments in each way; the campaign of 2026-11 took ten.
MOMENTS = int(os.environ.get("EDGEKIT_TEST_KILLS", "2"))


@pytest.fixture(scope="module")
def seconds(tmp_path_factory):
    """How long one undisturbed run takes."""
    place = Place(tmp_path_factory.mktemp("whole"))
    start = time.monotonic()
    run = place.start()
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert place.left() + place.faults() == []
    return time.monotonic() - start


@pytest.mark.parametrize("moment", [0, *(pytest.param(n, marks=pytest.mark.nightly) for n in range(1, MOMENTS))])
@pytest.mark.parametrize(("first", "second"), KILLS)
def test_signals_at_random_moments_leave_nothing(tmp_path, seconds, first, second, moment):
    place, chance = Place(tmp_path), random.Random(f"{first} {second} {moment}")
    run = place.start()
    delay = chance.uniform(0, 1.1 * seconds)
    try:
        run.wait(delay)
    except subprocess.TimeoutExpired:
        run.send_signal(first)
        if second is not None:
            time.sleep(chance.choice([0, 0.001, 0.01, 0.05, 0.2]))
            run.send_signal(second)
    answer, said = run.communicate(timeout=20)
    # Before its first line runs the interpreter dies of a signal, which a shell reports by the same number; a signal
    # that comes when all is done finds nobody.
    heard = [number for number in (first, second) if number]
    assert run.returncode in {0, *(128 + number for number in heard), *(-number for number in heard)}, (delay, said)
    deadline = time.monotonic() + 2
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert place.processes() == [], (delay, said)
    assert place.left() + place.faults() == [], (delay, said)
    assert "Traceback" not in said or run.returncode < 0, said
    if answer:
        document = json.loads(answer)
        # What was said stays said where the signal comes between the answer and the end.
        assert document["status"] in (("PASS",) if run.returncode == 0 else ("PASS", "FAILED"))
    if run.returncode == 0 or (answer and document["status"] == "PASS"):
        assert (place.out / "made").is_dir()


def test_what_a_hard_kill_leaves_goes_at_the_next_start(tmp_path, seconds):
    place = Place(tmp_path)
    for share in (0.4, 0.6, 0.8):
        run = place.start()
        time.sleep(share * seconds)
        run.kill()
        run.communicate()
    deadline = time.monotonic() + 2
    while place.processes() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert place.processes() == []
    run = place.start()
    _, said = run.communicate(timeout=120)
    assert run.returncode == 0, said
    assert place.left() + place.faults() == []


def test_eight_threads_convert_with_one_workers(tmp_path, monkeypatch):
    """Outside of the main thread, on shared children and a shared store, all at once."""
    sources, targets = ["dense@torch", "pair@torch"], ["null-fp32", "null-fp32"]
    with null.Children() as workers:

        def convert(index):
            return edgekit.convert(
                sources[index % 2],
                targets[index % 2],
                output=tmp_path / str(index),
                workers=workers,
                store=Store(tmp_path / "home"),
            )

        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(convert, range(16)))
    assert {result.status for result in results} == {"PASS"}, [result.reason for result in results]
    assert [result.source.name for result in results] == ["dense", "pair"] * 8
    assert {result.parity.sqnr_db for result in results[::2]} == {results[0].parity.sqnr_db}
    for index in range(16):
        assert contents.faults(tmp_path / str(index)) == {}


def test_a_thread_of_its_own_converts_with_children_of_its_own(tmp_path, monkeypatch):
    """Python delivers signals to the main thread alone, and takes them over from there alone."""
    monkeypatch.setattr(api, "Workers", null.Children)

    def convert(index):
        return edgekit.convert(
            "dense@torch", "null-fp32", output=tmp_path / str(index), store=Store(tmp_path / f"home{index}")
        )

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(convert, range(4)))
    assert {result.status for result in results} == {"PASS"}
