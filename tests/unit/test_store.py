"""The store: entries appear whole or not at all, and are found only under all that went in."""

import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgekit.errors import EdgekitError, FailedError, UsageError
from edgekit.jobs.store import Cleared, Store, limit_bytes, sha256_json


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
    assert files_below(tmp_path) == []


def files_below(folder):
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_altered_entries_are_named_and_truncated_ones_made_anew(tmp_path):
    store = Store(tmp_path)
    made = store.make({"step": "x"}, write("abc"))
    assert store.verify() == []
    made.file("sub/model.bin").write_text("abd")
    assert store.verify() == [f"{made.key}: sub/model.bin is missing or altered"]
    assert store.make({"step": "x"}, write("abc")).reused is False
    made.file("sub/model.bin").write_text("ab")
    assert store.make({"step": "x"}, write("abc")).reused is False
    assert store.verify() == []


def edited(folder, **changes):
    document = json.loads((folder / "entry.json").read_text())
    (folder / "entry.json").write_text(json.dumps(document | changes))


def sealed(folder):
    digest = hashlib.sha256((folder / "entry.json").read_bytes()).hexdigest()
    (folder / "entry.sha256").write_text(f"{digest}  entry.json\n")


def remade(path, content):
    path.unlink()
    path.write_bytes(content)


DAMAGES = {
    "value": lambda f: edited(f, value={"file": "sub/model.bin", "parity": 999.0}),
    "value by one byte": lambda f: (f / "entry.json").write_text((f / "entry.json").read_text() + " "),
    "made": lambda f: edited(f, made=0),
    "material": lambda f: (edited(f, material={"step": "y"}), sealed(f)),
    "key": lambda f: (edited(f, key="0" * 64), sealed(f)),
    "files": lambda f: (edited(f, files={}), sealed(f)),
    "files outside": lambda f: (edited(f, files={"../../../x": {"sha256": "0" * 64, "bytes": 1}}), sealed(f)),
    "no files": lambda f: shutil.rmtree(f / "files"),
    "a list": lambda f: (remade(f / "entry.json", b"[]"), sealed(f)),
    "null": lambda f: (remade(f / "entry.json", b"null"), sealed(f)),
    "half": lambda f: (remade(f / "entry.json", (f / "entry.json").read_bytes()[:50]), sealed(f)),
    "empty": lambda f: (remade(f / "entry.json", b""), sealed(f)),
    "deep": lambda f: (remade(f / "entry.json", b"[" * 200_000), sealed(f)),
    "not text": lambda f: (remade(f / "entry.json", b"\xff\xfe\x00"), sealed(f)),
    "no document": lambda f: (f / "entry.json").unlink(),
    "no seal": lambda f: (f / "entry.sha256").unlink(),
    "nothing": lambda f: [shutil.rmtree(f), f.mkdir()],
    "a file": lambda f: [shutil.rmtree(f), f.write_text("x")],
    "a link": lambda f: [f.rename(f.parent.parent / "elsewhere"), f.symlink_to(f.parent.parent / "elsewhere")],
    "a dangling link": lambda f: [shutil.rmtree(f), f.symlink_to("/nowhere")],
    "a folder for the document": lambda f: [(f / "entry.json").unlink(), (f / "entry.json").mkdir()],
    "a pipe for the document": lambda f: [(f / "entry.json").unlink(), os.mkfifo(f / "entry.json")],
    "a pipe for a file": lambda f: [(f / "files/sub/model.bin").unlink(), os.mkfifo(f / "files/sub/model.bin")],
    "a link for a file": lambda f: [
        (f / "files/sub/model.bin").rename(f.parent.parent / "m"),
        (f / "files/sub/model.bin").symlink_to(f.parent.parent / "m"),
    ],
    "a link for the files": lambda f: [
        (f / "files").rename(f.parent.parent / "files"),
        (f / "files").symlink_to(f.parent.parent / "files"),
    ],
    "an unlisted file": lambda f: (f / "files" / "sitecustomize.py").write_text("raise SystemExit"),
    "an unlisted folder": lambda f: (f / "more").mkdir(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole_is_named_and_made_again(tmp_path, damage):
    store = Store(tmp_path)
    made = store.make({"step": "x"}, write("abc"))
    DAMAGES[damage](made.folder)
    assert [line.split(":")[0] for line in store.verify()] == [made.key]
    assert [row["key"] for row in store.rows()] == [made.key]
    again = store.make({"step": "x"}, write("abc"))
    assert (again.reused, again.value) == (False, {"file": "sub/model.bin"})
    assert again.file("sub/model.bin").read_text() == "abc"
    assert store.verify() == []
    assert store.make({"step": "x"}, write("never called")).reused


def test_what_is_no_entry_is_named_and_goes_with_clear(tmp_path):
    store = Store(tmp_path)
    store.make({"step": "x"}, write("abc"))
    (store.root / "notes.txt").write_text("x")
    (store.root / ("Z" * 64)).mkdir()
    assert [line.partition(":")[2] for line in store.verify()] == [" this is no entry"] * 2
    assert store.clear() == Cleared(removed=1, in_use=0)
    assert files_below(tmp_path) == []


def test_a_value_that_is_no_number_comes_back(tmp_path):
    store = Store(tmp_path)
    store.make({"step": "x"}, lambda folder: {"ratio": float("nan"), "worst": float("inf")})
    again = store.make({"step": "x"}, write("never called"))
    assert again.reused
    assert again.value["ratio"] != again.value["ratio"]
    assert again.value["worst"] == float("inf")


def test_a_link_that_a_step_leaves_is_refused(tmp_path):
    def links(folder):
        (folder / "passwords").symlink_to("/etc/passwd")

    with pytest.raises(FailedError, match="passwords, which is a link"):
        Store(tmp_path).make({"step": "x"}, links)
    assert files_below(tmp_path) == []


def test_list_and_clear(tmp_path):
    store = Store(tmp_path)
    assert store.clear() == Cleared(removed=0, in_use=0)
    store.make({"step": "x"}, write("abc"))
    [row] = store.rows()
    assert (row["step"], row["in_use"]) == ("x", False)
    assert row["bytes"] == sum(path.stat().st_size for path in files_below(store.root))
    assert store.clear() == Cleared(removed=1, in_use=0)
    assert store.keys() == []
    assert files_below(tmp_path) == []


def test_clear_spares_what_is_in_use_in_this_and_in_other_processes(tmp_path):
    store = Store(tmp_path)
    store.make({"step": "idle"}, write("abc"))
    program = (
        "import sys, pathlib; from edgekit.jobs.store import Store\n"
        f"with Store(pathlib.Path({str(tmp_path)!r})).lease() as lease:\n"
        "    entry = lease.make({'step': 'other'}, lambda f: (f / 'f').write_text('x'))\n"
        "    print(entry.key, flush=True); sys.stdin.read()\n"
        "    assert entry.file('f').read_text() == 'x'"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    key = other.stdout.readline().strip()
    with store.lease() as lease:
        mine = lease.make({"step": "mine"}, write("abc"))
        found = lease.make({"step": "idle too"}, write("abc"))
        assert store.usage().in_use == 3
        assert store.clear() == Cleared(removed=1, in_use=3)
        assert store.keys() == sorted([key, mine.key, found.key])
        assert mine.file("sub/model.bin").read_text() == "abc"
    assert store.clear() == Cleared(removed=2, in_use=1)
    other.communicate("")
    assert other.returncode == 0
    assert store.clear() == Cleared(removed=1, in_use=0)


def test_what_a_killed_run_left_goes_at_the_next_start_and_nothing_of_the_living(tmp_path):
    store = Store(tmp_path)
    program = (
        "import os, signal, pathlib; from edgekit.jobs.store import Store\n"
        "def half(folder):\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Store(pathlib.Path({str(tmp_path)!r})).make({{'step': 'x'}}, half)"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60)
    claimed = sha256_json({"step": "x"})
    assert {path.name for path in files_below(tmp_path)} == {"half", claimed}
    (store.root / "tmp-old").mkdir()
    os.utime(store.root / "tmp-old", (0, 0))
    (store.root / "tmp-new").mkdir()
    with store.lease() as living:
        with store.lease():
            assert len(list(store.runs.iterdir())) == 2
        assert living.make({"step": "x"}, write("abc")).reused is False
    assert store.verify() == ["tmp-new: this is no entry"]
    assert list(store.runs.iterdir()) == list(store.locks.iterdir()) == []


def test_the_least_recently_used_go_where_the_limit_is_reached(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for index in range(6):
        made = store.make({"step": index}, write("x" * 100_000))
        os.utime(made.folder, (1000 + index, 1000 + index))
    store.make({"step": 0}, write("never called"))  # used just now
    monkeypatch.setenv("EDGEKIT_STORE_LIMIT", "420KB")
    with store.lease() as lease:
        lease.make({"step": 1}, write("never called"))
        made = lease.make({"step": 6}, write("x" * 100_000))
        os.utime(made.folder, (2, 2))
        assert store.evict() == 4  # neither what this run uses, though it is the oldest
        assert {row["step"] for row in store.rows()} == {"0", "1", "6"}
    usage = store.usage()
    assert (usage.entries, usage.limit_bytes) == (3, 420_000)
    assert usage.bytes < 420_000


def test_a_limit_holds_while_several_runs_make_entries(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_STORE_LIMIT", "1MB")
    store = Store(tmp_path)

    def run(index):
        for turn in range(5):
            made = store.make({"step": index * 100 + turn}, write("x" * 90_000))
            try:
                assert made.file("sub/model.bin").stat().st_size == 90_000
            except FileNotFoundError:  # another run's entry took its room meanwhile
                assert store.find(made.key) is None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))
    store.evict()
    assert 300_000 < store.usage().bytes <= 1_000_000
    assert store.verify() == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("2KiB", 2048), ("1.5 GB", 1_500_000_000), ("8GiB", 8 << 30), ("3m", 3_000_000), ("0", 0)],
)
def test_sizes(monkeypatch, text, size):
    monkeypatch.setenv("EDGEKIT_STORE_LIMIT", text)
    assert limit_bytes() == size


def test_what_is_no_size_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_STORE_LIMIT", "plenty")
    with pytest.raises(UsageError, match="'plenty', which is no size"):
        Store(tmp_path).lease()
    monkeypatch.delenv("EDGEKIT_STORE_LIMIT")
    assert limit_bytes() == 8 << 30


def test_what_is_there_can_be_used_where_nothing_can_be_written(tmp_path):
    store = Store(tmp_path)
    made = store.make({"step": "x"}, write("abc"))
    shutil.rmtree(store.runs)
    store.runs.write_text("a file is in the way")
    assert store.make({"step": "x"}, write("never called")).key == made.key
    with pytest.raises(UsageError, match="cannot be written"):
        store.make({"step": "y"}, write("abc"))


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
