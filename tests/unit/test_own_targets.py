"""Targets of somebody's own: said where they take the place of a packaged one, and harmless where they are broken."""

import hashlib
import json
import os

import pytest

from edgekit import catalogue, cli, target
from edgekit.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "targets").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "targets"


def text(name):
    return (catalogue._packaged() / "targets" / f"{name}.toml").read_text()


def test_a_file_of_a_packaged_name_says_so_with_path_and_hash(folder):
    packaged = target.load("tflite-int8").file
    assert (packaged.path, packaged.stands_in) == (None, False)
    changed = text("tflite-int8").replace('title = "', 'title = "My ')
    (folder / "tflite-int8.toml").write_text(changed)
    own = target.load("tflite-int8").file
    assert own.stands_in
    assert own.path == str(folder / "tflite-int8.toml")
    assert own.sha256 == hashlib.sha256(changed.encode()).hexdigest() != packaged.sha256


def test_an_equal_copy_and_a_name_of_its_own_take_nobodys_place(folder):
    (folder / "tflite-int8.toml").write_text(text("tflite-int8"))
    (folder / "mine.toml").write_text(text("tflite-int8"))
    assert not target.load("tflite-int8").file.stands_in
    mine = target.load("mine").file
    assert (mine.name, mine.stands_in, mine.path) == ("mine", False, str(folder / "mine.toml"))
    assert target.load(str(folder / "mine.toml")).file == mine


def test_a_path_to_a_file_of_a_packaged_name_counts_as_well(folder, tmp_path):
    path = tmp_path / "tflite-int8.toml"
    path.write_text(text("tflite-int8") + "# changed\n")
    assert target.load(str(path)).file.stands_in


def test_a_name_inside_of_the_file_is_refused(folder):
    (folder / "mine.toml").write_text('name = "tflite-fp32"\n' + text("tflite-int8"))
    with pytest.raises(UsageError, match=r"mine\.toml: name"):
        target.load("mine")


BROKEN = {
    "nonsense": b"= nonsense",
    "not-text": b"\xff\xfe",
    "empty": b"",
    "deep": b"schema = 1\nx = " + b"[" * 50_000,
    "dotted": b"schema = 1\n" + b"a." * 500_000 + b"b = 1\n",  # which took hours
    "long-number": b"schema = 1\nx = " + b"9" * 5000,
    "no-routes": b'schema = 1\ntitle = "x"\n',
    "no-schema": b'title = "x"\n',
    "unknown-key": b"surprise = 1\n",
    "large": b"# " + b"x" * (1 << 20),
    "no-title": b'schema = 1\ntitle = ["x"]\n',
}


@pytest.mark.parametrize("what", [*BROKEN, "folder", "link", "pipe", "unreadable"])
def test_one_bad_file_breaks_no_list(folder, what, capsys):
    path = folder / "aa-bad.toml"
    listed = what not in ("folder", "link", "pipe")  # these are no files
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("/nowhere")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "unreadable":
        path.write_bytes(b"\0" * 10)
    else:
        path.write_bytes(BROKEN[what])
    assert cli.run(["list", "targets", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["targets"]}
    assert len(rows) > 20
    assert ("aa-bad" in rows) == listed
    if listed:
        assert rows["aa-bad"]["problem"]
        assert rows["aa-bad"]["file"] == str(path)
    assert all(row["problem"] is None and row["file"] is None for name, row in rows.items() if name != "aa-bad")
    assert cli.run(["list", "targets"]) == 0
    assert ("aa-bad" in capsys.readouterr().out) == listed
    assert cli.run(["list", "toolchains", "--json"]) == 0
    assert any(row["targets"] for row in json.loads(capsys.readouterr().out)["toolchains"])
    assert "tflite-int8-dynamic" in target.without_calibration(target.load("tflite-int8"))
    assert "tflite-fp32" in target.gentler(target.load("tflite-int8"))
    with pytest.raises(UsageError):
        target.load("aa-bad")


def test_one_bad_device_breaks_no_list(tmp_path, monkeypatch, capsys):
    (tmp_path / "benchmarks" / "devices").mkdir(parents=True)
    (tmp_path / "benchmarks" / "devices" / "mine.toml").write_text("= nonsense")
    monkeypatch.chdir(tmp_path)
    assert cli.run(["list", "devices", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["devices"]}
    assert rows["mine"]["title"].startswith("broken: mine.toml is not valid TOML")
    assert rows["nvidia-gpu"]["builder"]


@pytest.mark.parametrize(
    ("twin", "says"),
    [
        ("", "every target names its float_twin"),
        ('float_twin = "onnxruntime-int8-dynamic"\n', "is onnx int8-dynamic; needed: onnx fp32"),
        ('float_twin = "tflite-fp32"\n', "is tflite fp32; needed: onnx fp32"),
    ],
)
def test_a_target_without_a_float_twin_of_its_format_is_the_users_error(tmp_path, twin, says):
    """Its routes have no float file to start from, which was an assertion in each of them."""
    packaged = target.load("onnxruntime-int8")
    text = catalogue.find("targets", "onnxruntime-int8").read_text().replace('float_twin = "onnxruntime-fp32"\n', twin)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        target.float_twin(target.load(str(path)))
    assert target.float_twin(packaged).name == "onnxruntime-fp32"


@pytest.mark.parametrize(
    ("there", "written", "nearest"),
    [
        ("rounding = ", "roundin = ", "rounding"),
        ("\nbecause = ", "\nbecuase = ", "because"),
        ("[[route]]", "[gate.parity]\nsqnr_min = 3\n[[route]]", "sqnr_db_min"),
        ("[[route]]", "[gate.top1]\ndrop = 3\n[[route]]", "drop_max"),
        ("[[route]]", "[gate]\ntop_1 = 3\n[[route]]", "top1"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(tmp_path, there, written, nearest):
    path = tmp_path / "mine.toml"
    path.write_text(text("openvino-int4").replace(there, written, 1))
    with pytest.raises(UsageError) as caught:
        target.load(str(path))
    assert nearest in caught.value.hint


@pytest.mark.parametrize(("typed", "called"), [("onnx-int8", "onnxruntime-int8"), ("litert-fp16", "tflite-fp16")])
def test_what_other_tools_call_a_format_is_told_by_its_name_here(typed, called):
    with pytest.raises(UsageError, match=f"unknown target '{typed}'") as raised:
        target.load(typed)
    assert raised.value.hint.startswith(f"Here it is called '{called}'.")
