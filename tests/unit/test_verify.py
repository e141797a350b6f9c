"""What an artifact's folder may be: everything else is named. No framework is needed."""

import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from edgekit import cli
from edgekit.artifact import contents
from edgekit.artifact import folder as artifact
from edgekit.errors import DamagedFileError, UsageError
from edgekit.jobs.workers import Workers

FILES = ("model.bin", "golden.npz", "part/model.bin")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "artifact"
    for name in FILES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(name)
    seal(made)
    return made


def seal(folder, **more):
    listed = [file.model_dump() for file in contents.sealed_files(folder)]
    document = {
        "status": "PASS", "proof": {"kind": "runtime", "by": "x"}, "target": "onnxruntime-fp32", "toolchain": "onnx",
        "precision": "fp32", "framework": "torch", "source": {"name": "x"}, "gate": {}, "files": listed,
        "parts": {"main": {"file": "model.bin", "inputs": [{"name": "x", "shape": [1, 2]}]}}, **more,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(document))
    (folder / "manifest.sha256").write_text(contents.seal_of(folder))


def replace_by_link(path):
    content = path.parent.parent / "elsewhere"
    content.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(content)


def listen(path):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.close()


ALTERATIONS = {
    "model.bin": [
        lambda f: (f / "model.bin").write_text("MODEL.bin"),
        lambda f: (f / "model.bin").write_text("model.bin longer"),
        lambda f: (f / "model.bin").unlink(),
        lambda f: replace_by_link(f / "model.bin"),
        lambda f: (f / "model.bin").chmod(0o4755),
        lambda f: (f / "model.bin").chmod(0o2755),
        lambda f: (f / "model.bin").chmod(0o1644),
        lambda f: ((f / "model.bin").unlink(), os.mkfifo(f / "model.bin")),
        lambda f: ((f / "model.bin").unlink(), (f / "model.bin").mkdir()),
    ],
    "part": [lambda f: ((f / "part").rename(f.parent / "p"), (f / "part").symlink_to(f.parent / "p"))],
    "part/model.bin": [lambda f: (f / "part" / "model.bin").write_text("x")],
    "part/manifest.json": [lambda f: (f / "part" / "manifest.json").write_text("{}")],
    "part/manifest.sha256": [lambda f: (f / "part" / "manifest.sha256").write_text("{}")],
    "empty": [lambda f: (f / "empty").mkdir()],
    "a/b": [lambda f: (f / "a" / "b").mkdir(parents=True)],
    "link": [lambda f: (f / "link").symlink_to("/nowhere"), lambda f: (f / "link").symlink_to(f)],
    "pipe": [lambda f: os.mkfifo(f / "pipe")],
    "socket": [lambda f: listen(f / "socket")],
    "new": [lambda f: (f / "new").write_text("x"), lambda f: os.link(f / "model.bin", f / "new")],
    ".hidden": [lambda f: (f / ".hidden").write_text("x")],
    "manifest.json": [
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text() + " "),
        lambda f: (f / "manifest.json").unlink(),
        lambda f: replace_by_link(f / "manifest.json"),
        lambda f: ((f / "manifest.json").unlink(), os.mkfifo(f / "manifest.json")),
        lambda f: ((f / "manifest.json").write_text("[" * 100_000), resealed(f)),
        lambda f: ((f / "manifest.json").write_text("{}"), resealed(f)),
        lambda f: ((f / "manifest.json").write_bytes(b"\xff\xfe"), resealed(f)),
        lambda f: listed(f, "../elsewhere"),
        lambda f: listed(f, "/etc/hostname"),
        lambda f: listed(f, "part/../model.bin"),
        lambda f: seal(f, parts={"main": {"file": "../elsewhere", "inputs": []}}),
        lambda f: seal(f, parts={"main": {"file": "/etc/hostname", "inputs": []}}),
        lambda f: seal(f, parts=[]),
        lambda f: seal(f, status="GREAT"),
    ],
    "manifest.sha256": [
        lambda f: (f / "manifest.sha256").unlink(),
        lambda f: replace_by_link(f / "manifest.sha256"),
    ],
}


def resealed(folder):
    (folder / "manifest.sha256").write_text(contents.seal_of(folder))


def listed(folder, name):
    document = json.loads((folder / "manifest.json").read_text())
    document["files"].append({"path": name, "sha256": "0" * 64, "bytes": 1})
    (folder / "manifest.json").write_text(json.dumps(document))
    resealed(folder)


class NoWorkers:
    def call(self, environment, step, arguments):
        raise AssertionError("what is not whole is not executed")


@pytest.mark.parametrize(
    ("name", "alter"), [(name, alter) for name, alterations in ALTERATIONS.items() for alter in alterations]
)
def test_what_was_altered_is_named(folder, name, alter):
    assert contents.faults(folder) == {}
    alter(folder)
    found = artifact.verify(folder, NoWorkers())
    assert found["status"] == "FAIL_INTEGRITY"
    assert name in found["damaged"]
    assert name in found["reason"]
    assert "not signed" in found["seal"]


def test_the_exit_code_is_4_and_the_file_is_named(folder, capsys):
    (folder / "part" / "model.bin").write_text("x")
    assert cli.run(["verify", str(folder), "--json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["damaged"]) == ("FAIL_INTEGRITY", ["part/model.bin"])
    assert cli.run(["verify", str(folder)]) == 4
    said = capsys.readouterr().out
    assert "part/model.bin is altered" in said
    assert "proves that this is a whole copy" in said


def test_of_many_faults_a_sentence_names_a_few(folder):
    for index in range(100):
        (folder / f"new-{index}").write_text("x")
    found = artifact.verify(folder, NoWorkers())
    assert len(found["damaged"]) == 100
    assert "and 92 more" in found["reason"]


def test_a_folder_without_manifest_and_seal_is_no_artifact(tmp_path):
    with pytest.raises(UsageError, match=r"manifest\.json"):
        contents.faults(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        contents.faults(tmp_path / "nowhere")


@pytest.mark.parametrize("status", ["NOT_RUN", "FAILED", "FAIL_PRECISION"])
def test_what_never_ran_says_its_own_status(folder, status):
    (folder / "golden.npz").unlink()
    seal(folder, status=status, reason="no such runtime here", proof={"kind": "none"})
    found = artifact.verify(folder, NoWorkers())
    assert (found["status"], found["damaged"]) == (status, [])
    assert "no such runtime here" in found["reason"]


def test_a_manifest_that_names_no_toolchain_of_ours_is_refused(folder):
    seal(folder, toolchain="os")
    with pytest.raises(UsageError, match="unknown toolchain 'os'"):
        artifact.verify(folder, NoWorkers())


@pytest.mark.parametrize("outside", ["../model.bin", "/etc/passwd", "model\0.bin", ".", "part/../../x"])
def test_a_part_that_lies_elsewhere_is_not_looked_at(folder, capsys, outside):
    """Whoever writes a manifest lists what it likes."""
    listed = [{"path": outside, "sha256": "0" * 64, "bytes": 1}]
    part = {"file": outside, "inputs": []}
    seal(folder, parts={"a": part, "b": part}, files=listed)
    assert cli.run(["inspect", str(folder), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "damaged-file" and "is none of its files" in error["message"]
    with pytest.raises(DamagedFileError):
        artifact.read(folder)


def test_an_artifact_without_a_model_file_is_said_to_have_none(folder, capsys):
    seal(folder, parts={}, status="FAILED")
    assert cli.run(["inspect", str(folder), "--json"]) == 2
    assert "holds no model file" in json.loads(capsys.readouterr().out)["reason"]


WHOLE = Path(__file__).parents[1] / "contract" / "artifacts" / "0.1.0" / "onnxruntime-int8"


def test_an_artifact_that_took_the_place_of_another_is_read_by_the_same_workers(tmp_path):
    with Workers() as workers:
        for _ in range(2):
            shutil.rmtree(tmp_path / "artifact", ignore_errors=True)
            shutil.copytree(WHOLE, tmp_path / "artifact")
            assert artifact.verify(tmp_path / "artifact", workers)["status"] == "PASS"


def test_golden_data_that_cannot_be_read_are_damage_of_the_artifact(tmp_path, capsys):
    """Sealed again by whoever changed them: nothing of ours has failed."""
    made = tmp_path / "artifact"
    shutil.copytree(WHOLE, made)
    np.savez(made / "golden.npz", **{"in/x": np.array([{"pickled"}], object)})
    document = json.loads((made / "manifest.json").read_text())
    document["files"] = [file.model_dump() for file in contents.sealed_files(made)]
    (made / "manifest.json").write_text(json.dumps(document))
    (made / "manifest.sha256").write_text(contents.seal_of(made))
    assert cli.run(["verify", str(made), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "damaged-file" and "pickle" in error["message"]
