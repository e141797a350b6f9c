"""A step that takes long: what it tells reaches the user, and what it has got is there when it is asked for again."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import FailedError, UsageError
from edgekit.jobs import interruption, keys, store
from edgekit.jobs.interruption import InterruptedCall, listening
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store, Unfinished, sha256_json
from edgekit.jobs.wire import Told
from edgekit.jobs.workers import Confined, Limits, Workers

STEPS = str(Path(__file__).parent / "children")


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("PYTHONPATH", STEPS)
    monkeypatch.syspath_prepend(STEPS)
    with Workers(Limits(seconds=30)) as made:
        yield made


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the steps; their keys, which are of edgekit's own, are what is asked of them."""
    monkeypatch.syspath_prepend(STEPS)
    monkeypatch.setattr(keys, "material", lambda step, kind, request, identity, host: {"step": step, "tools": {}})
    import misbehaving  # type: ignore[import-not-found]

    return misbehaving


def test_what_a_step_tells_is_heard_in_order(workers: Workers, tmp_path: Path) -> None:
    heard: list[Told] = []
    arguments = {"folder": tmp_path, "request": {"until": 0}}
    answer = workers.call("runtime", "misbehaving:counts", arguments, heard=heard.append)
    assert answer.value == [1, 2, 3, 4, 5]
    assert [told.text for told in heard] == [f"number {n} of 5" for n in range(1, 6)]
    assert [told.answer for told in heard] == [[n] for n in range(1, 6)]


def test_one_that_tells_for_ever_is_ended_all_the_same(workers: Workers) -> None:
    with pytest.raises(FailedError, match="did not finish within 1 s"):
        workers.call("runtime", "misbehaving:tells_for_ever", {}, limits=Limits(seconds=1.0))
    assert workers.call("runtime", "misbehaving:add", {"a": 1, "b": 2}).value["sum"] == 3


def test_where_hearing_fails_the_child_is_ended_and_the_next_request_has_its_own_answer(
    workers: Workers, tmp_path: Path
) -> None:
    def full(told: Told) -> None:
        raise UsageError("no space left")

    with pytest.raises(UsageError, match="no space left"):
        workers.call("runtime", "misbehaving:counts", {"folder": tmp_path, "request": {"until": 0}}, heard=full)
    assert workers.call("runtime", "misbehaving:add", {"a": 1, "b": 2}).value["sum"] == 3


@pytest.mark.parametrize("files", ["..", "../in", "/etc", "a/b"])
def test_a_confined_step_is_believed_no_path(files: str, workers: Workers, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    confined = Confined("a model", tmp_path, file_bytes=1 << 20)
    with pytest.raises(FailedError, match=r"none of its folders|what is not let out"):
        workers.call("runtime", "misbehaving:tells_of", {"folder": tmp_path / "out", "files": files}, confined=confined)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("confined", [False, True])
def test_a_step_goes_on_from_what_it_told_of_last(
    confined: bool, workers: Workers, counting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    held = Confined("a model", tmp_path, file_bytes=1 << 20) if confined else None
    with Store(tmp_path).lease() as lease:
        run = Run(workers, lease, lambda event, label: events.append((event, label)))
        monkeypatch.setattr(run, "_for_whom", lambda request: held)
        with pytest.raises(FailedError, match="exit code 3"):
            run.step(counting.counts, "runtime", "count", counting.Until(3))
        assert ("note", "count: number 3 of 5") in events
        found = run.so_far(counting.counts, "runtime", "count", counting.Until(3))
        assert found is not None
        entry, ended = found
        assert (entry.value, ended) == ((3,), False)
        assert entry.file("number").read_text() == "3"
        made = run.step(counting.counts, "runtime", "count", counting.Until(0))
        assert made.value == (4, 5)
        assert lease.unfinished.steps() == []
        found = run.so_far(counting.counts, "runtime", "count", counting.Until(0))
        assert found is not None
        assert (found[0].value, found[1]) == ((4, 5), True)


def test_a_disk_that_is_full_in_the_third_part_loses_none_of_the_first_two(
    workers: Workers, counting: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, parts = store.flush_folder, list[str]()

    def full(folder: Path) -> None:
        parts.append(folder.name)
        if folder.name == "part-3.whole":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(folder)

    with Store(tmp_path).lease() as lease:
        run = Run(workers, lease, lambda event, label: None)
        with monkeypatch.context() as patch:
            patch.setattr(store, "flush_folder", full)
            with pytest.raises(UsageError, match="No space left on device") as caught:
                run.step(counting.counts, "runtime", "count", counting.Until(0))
        assert "Free space" in caught.value.hint
        assert parts == ["part-1.whole", "part-2.whole", "part-3.whole"]
        assert run.step(counting.counts, "runtime", "count", counting.Until(0)).value == (3, 4, 5)


def _part(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "file").write_text(text)
    return folder


KEY = sha256_json("a step")


def test_only_the_latest_is_kept_and_what_is_damaged_is_nothing(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path)
    assert unfinished.find(KEY) is None
    for number in (1, 2):
        unfinished.keep(KEY, _part(tmp_path / f"part-{number}", str(number)), number)
    found = unfinished.find(KEY)
    assert found is not None
    assert (found.value, found.file("file").read_text()) == (2, "2")
    assert len(list((tmp_path / "unfinished" / KEY).iterdir())) == 1
    (found.folder / "entry.json").write_text("{")
    assert unfinished.find(KEY) is None
    unfinished.drop(KEY)
    assert unfinished.steps() == []


def test_what_nobody_goes_on_with_goes_after_a_month_or_with_the_store(tmp_path: Path) -> None:
    there = Store(tmp_path)
    there.unfinished.keep(KEY, _part(tmp_path / "part", "1"), 1)
    there.sweep()
    assert there.unfinished.steps() == [KEY]
    month = time.time() - 31 * 24 * 3600
    os.utime(tmp_path / "unfinished" / KEY, (month, month))
    there.sweep()
    assert there.unfinished.steps() == []
    there.unfinished.keep(KEY, _part(tmp_path / "part", "1"), 1)
    there.root.mkdir()
    assert (there.usage().unfinished, there.usage().unfinished_bytes > 0) == (1, True)
    assert there.clear().unfinished == 1 and there.usage().unfinished == 0
    assert there.unfinished.steps() == []


def test_what_a_signal_leaves_to_do_can_be_interrupted_by_another(workers: Workers) -> None:
    """Children can be asked again, until the second one comes."""
    done = list[int]()
    with pytest.raises(InterruptedCall), listening():
        try:
            os.kill(os.getpid(), 2)
        except InterruptedCall:
            with interruption.answered():
                done.append(workers.call("runtime", "misbehaving:add", {"a": 1, "b": 2}).value["sum"])
                os.kill(os.getpid(), 2)
                done.append(0)
    assert done == [3]


def test_where_a_step_is_is_said_with_the_time_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.jobs.telling import pace as telling

    clock = iter([0.0, 30.0, 60.0])
    monkeypatch.setattr(telling.time, "monotonic", lambda: next(clock))
    pace = telling.Pace()
    assert pace.said("train", Told("step 1", 0.0)) == ("at", "train [--------------------] step 1")
    assert pace.said("train", Told("step 2", 0.25)) == ("at", "train [#####---------------] step 2, 1:30 left")
    assert pace.said("train", Told("epoch 1", 0.5, lasting=True)) == ("note", "train: epoch 1")
