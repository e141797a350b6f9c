"""The store: entries appear whole or not at all, and are found only under all that went in."""

import json
import multiprocessing
import os
import time

import pytest

from edgekit.errors import EdgekitError
from edgekit.jobs.store import Store, sha256_json


def write(text):
    def produce(folder):
        (folder / "sub").mkdir()
        (folder / "sub" / "model.bin").write_text(text)
        return {"file": "sub/model.bin"}

    return produce


def test_a_second_make_reuses_the_first(tmp_path):
    store = Store(tmp_path)
    first = store.make({"step": "convert", "n": 1}, write("a"))
    second = store.make({"step": "convert", "n": 1}, write("never called"))
    assert (first.reused, second.reused) == (False, True)
    assert second.file(second.value["file"]).read_text() == "a"
    assert len(first.key) == 64
    assert first.key == sha256_json({"n": 1, "step": "convert"})


def test_any_difference_in_the_material_is_another_entry(tmp_path):
    store = Store(tmp_path)
    keys = {
        store.make(material, write("a")).key
        for material in ({"step": "a"}, {"step": "a", "tools": {"x": "1"}}, {"step": "a", "tools": {"x": "2"}})
    }
    assert len(keys) == 3


def test_a_failure_leaves_nothing(tmp_path):
    store = Store(tmp_path)

    def fails(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("converter died")

    with pytest.raises(RuntimeError):
        store.make({"step": "x"}, fails)
    assert store.keys() == []
    assert list(store.root.iterdir()) == []


def test_altered_entries_are_named_and_truncated_ones_made_anew(tmp_path):
    store = Store(tmp_path)
    made = store.make({"step": "x"}, write("abc"))
    assert store.verify() == []
    made.file("sub/model.bin").write_text("abd")
    assert store.verify() == [f"{made.key}: sub/model.bin is missing or altered"]
    assert store.make({"step": "x"}, write("abc")).reused is False
    made.file("sub/model.bin").write_text("ab")
    assert store.make({"step": "x"}, write("abc")).reused is False
    (made.folder / "entry.json").write_text("{")
    assert store.make({"step": "x"}, write("abc")).reused is False
    assert store.verify() == []


def test_list_and_clear(tmp_path):
    store = Store(tmp_path)
    store.make({"step": "x"}, write("abc"))
    [row] = store.rows()
    assert (row["step"], row["bytes"]) == ("x", 3)
    assert store.clear() == 1
    assert store.keys() == []


def _slow_make(root, queue):
    def produce(folder):
        queue.put(os.getpid())
        time.sleep(0.5)
        (folder / "f").write_text("x")
        return {}

    Store(root).make({"step": "shared"}, produce)


def test_concurrent_runs_make_an_entry_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    runs = [context.Process(target=_slow_make, args=(tmp_path, queue)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(30)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert queue.qsize() == 1
    assert Store(tmp_path).verify() == []


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "store").write_text("a file is in the way")
    with pytest.raises(EdgekitError, match="cannot be written") as caught:
        Store(tmp_path).make({"step": "x"}, write("a"))
    assert "EDGEKIT_HOME" in caught.value.hint


def test_entry_json_says_what_it_was_made_from(tmp_path):
    made = Store(tmp_path).make({"step": "x", "tools": {"torch": "2.13.0"}}, write("a"))
    entry = json.loads((made.folder / "entry.json").read_text())
    assert entry["material"]["tools"] == {"torch": "2.13.0"}
