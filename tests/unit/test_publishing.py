"""Where artifacts are written: nothing of others goes, a name never misses its folder, racing writers all succeed."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.artifact import contents, publishing
from edgekit.errors import UsageError
from edgekit.jobs.scratch import Scratch


def write(destination, text="x", files=("model.bin",)):
    """A whole artifact with a manifest of the least that every manifest has."""
    with publishing.writing(destination) as folder:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        listed = [file.model_dump() for file in contents.sealed_files(folder)]
        (folder / "manifest.json").write_text(json.dumps({"files": listed}))
        (folder / "manifest.sha256").write_text(contents.seal_of(folder))


def below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_an_artifact_is_replaced_by_the_next_one(tmp_path):
    write(tmp_path / "a" / "b" / "artifact", "one", ("model.bin", "sub/old.bin"))
    write(tmp_path / "a" / "b" / "artifact", "two")
    assert (tmp_path / "a/b/artifact/model.bin").read_text() == "two"
    assert contents.faults(tmp_path / "a/b/artifact") == {}
    assert below(tmp_path) == ["a", "a/b", "a/b/artifact"] + [
        f"a/b/artifact/{name}" for name in ("manifest.json", "manifest.sha256", "model.bin")
    ]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    assert contents.faults(tmp_path / "empty") == {}


def test_an_artifact_is_not_written_into_another(tmp_path):
    """Its seal says what is in it, and it would not be whole any more."""
    write(tmp_path / "artifact")
    for inside in (tmp_path / "artifact" / "sub", tmp_path / "artifact" / "a" / "sub"):
        with pytest.raises(UsageError, match="lies inside of the artifact"):
            publishing.check(inside)
    assert contents.faults(tmp_path / "artifact") == {}
    publishing.check(tmp_path / "beside")


def same(path):
    """What stays as it was where nobody touched a file."""
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns


def somebodys_manifest(place):
    place.mkdir()
    (place / "manifest.json").write_text('{"name": "my web application"}')
    (place / "index.html").write_text("<p>mine")


def with_an_unlisted_file(place):
    write(place)
    (place / "notes.txt").write_text("mine")


def with_an_unlisted_manifest_below(place):
    write(place)
    (place / "sub").mkdir()
    (place / "sub" / "manifest.json").write_text("{}")


def with_an_altered_file(place):
    write(place)
    (place / "model.bin").write_text("y")


def with_an_empty_folder(place):
    write(place)
    (place / "mine").mkdir()


def with_a_link(place):
    write(place)
    (place / "mine").symlink_to("/etc/hostname")


def without_its_seal(place):
    write(place)
    (place / "manifest.sha256").unlink()


def a_file(place):
    place.write_text("mine")


def a_link_to_an_artifact(place):
    write(place.with_name("real"))
    place.symlink_to(place.with_name("real"))


def a_link_to_nothing(place):
    place.symlink_to(place.with_name("nowhere"))


def a_pipe(place):
    os.mkfifo(place)


def a_folder_of_files(place):
    place.mkdir()
    (place / "cat.jpg").write_bytes(b"x")


OTHERS = [
    somebodys_manifest, with_an_unlisted_file, with_an_unlisted_manifest_below, with_an_altered_file,
    with_an_empty_folder, with_a_link, without_its_seal, a_file, a_link_to_an_artifact, a_link_to_nothing, a_pipe,
    a_folder_of_files,
]  # fmt: skip


@pytest.mark.parametrize("ending", ["", ".rejected"])
@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
def test_what_is_not_a_whole_artifact_stays_and_is_refused_before_and_at_writing(tmp_path, make, ending):
    place = tmp_path / f"out{ending}"
    make(place)
    before = {name: same(tmp_path / name) for name in below(tmp_path)}
    with pytest.raises(UsageError, match="out"):
        publishing.check(tmp_path / "out")
    with pytest.raises(UsageError, match="out"):
        write(place)
    assert {name: same(tmp_path / name) for name in below(tmp_path)} == before


def test_what_was_put_in_after_the_look_stays_too(tmp_path, monkeypatch):
    write(tmp_path / "out", "one")
    exchange = publishing._exchange

    def late(one, other):
        if not (other / "mine").exists() and (other / "model.bin").read_text() == "one":
            (other / "mine").write_text("just now")
        exchange(one, other)

    monkeypatch.setattr(publishing, "_exchange", late)
    with pytest.raises(UsageError, match="mine is not listed"):
        write(tmp_path / "out", "two")
    assert (tmp_path / "out" / "mine").read_text() == "just now"
    assert (tmp_path / "out" / "model.bin").read_text() == "one"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", [".", "..", "/", "a/..", "x" * 300, "x" * 250, "nul\0", "file.txt/out", "/proc/out"])
def test_names_that_cannot_be_written_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UsageError):
        publishing.check(Path(name))
    assert os.listdir(tmp_path) == ["file.txt"]


def test_the_current_folder_and_what_is_read_are_refused(tmp_path, monkeypatch):
    (tmp_path / "here" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "below")
    with pytest.raises(UsageError, match="current folder"):
        publishing.check(tmp_path / "here")
    model = tmp_path / "saved_model"
    model.mkdir()
    (model / "saved_model.pb").write_text("x")
    (tmp_path / "link").symlink_to(model)
    for inside in (model, model / "out", model / "a" / "out", tmp_path / "link" / "out"):
        with pytest.raises(UsageError, match=r"which is read|not an edgekit artifact"):
            publishing.check(inside, given=[model])
    with pytest.raises(UsageError, match=r"holds .*which is read"):
        publishing.check(tmp_path / "new", given=[tmp_path / "new" / "model.keras"])
    publishing.check(tmp_path / "beside", given=[model])


def test_a_check_leaves_nothing(tmp_path):
    publishing.check(tmp_path / "a" / "b" / "c")
    assert os.listdir(tmp_path) == []


def test_a_failure_while_writing_leaves_the_old_one_and_nothing_else(tmp_path):
    write(tmp_path / "out", "one")
    with pytest.raises(RuntimeError), publishing.writing(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert (tmp_path / "out" / "model.bin").read_text() == "one"
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path):
    program = (
        "import os, signal, pathlib; from edgekit.artifact import publishing\n"
        f"with publishing.writing(pathlib.Path({str(tmp_path / 'out')!r})) as folder:\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60)
    assert len(os.listdir(tmp_path)) == 1
    with Scratch(tmp_path, publishing._PREFIX) as living:
        write(tmp_path / "out")
        assert sorted(os.listdir(tmp_path)) == sorted([living.name, "out"])


def _race(folder, index, failures):
    for turn in range(40):
        try:
            write(Path(folder) / "artifact", f"writer {index} turn {turn} " * 200, ("model.bin", "part/model.bin"))
        except Exception as error:  # counted by the test
            failures.put(repr(error))


def test_240_racing_writes_all_succeed_and_the_name_is_never_absent(tmp_path):
    """Six writers, forty times each, on one name; whoever looks finds a folder of that name each time."""
    write(tmp_path / "artifact", "first", ("model.bin", "part/model.bin"))
    context = multiprocessing.get_context("spawn")
    failures = context.Queue()
    writers = [context.Process(target=_race, args=(tmp_path, i, failures)) for i in range(6)]
    for writer in writers:
        writer.start()
    looks = absent = 0
    while any(writer.is_alive() for writer in writers):
        looks += 1
        absent += not (tmp_path / "artifact").is_dir()
        time.sleep(0.0005)
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 6
    assert [failures.get() for _ in range(failures.qsize())] == []
    assert looks > 50
    assert absent == 0
    assert contents.faults(tmp_path / "artifact") == {}
    assert os.listdir(tmp_path) == ["artifact"]
    print(f"240 writes, {looks} looks")


def test_without_an_exchange_the_same_rules_hold(tmp_path, monkeypatch):
    def absent(old, new, flags):
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(publishing, "_renameat2", absent)
    write(tmp_path / "out", "one")
    write(tmp_path / "out", "two")
    assert (tmp_path / "out" / "model.bin").read_text() == "two"
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UsageError, match="mine is not listed"):
        write(tmp_path / "out", "three")
    assert os.listdir(tmp_path) == ["out"]
