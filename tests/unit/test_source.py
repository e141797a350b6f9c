"""What may be handed in: recognised by its name and hashed; nothing of it is parsed (for that see ``test_check_*``)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError
from edgekit.jobs import wire
from edgekit.signature import TensorSpec
from edgekit.sources.source import (
    DTYPES,
    Facts,
    Source,
    environments,
    parse_input,
    resolve,
    with_facts,
    with_framework,
    with_weights,
)
from tests.unit.handed_in import h5_file, keras_file, saved_model

# --- the zoo -----------------------------------------------------------------------------------------------------


def test_a_zoo_name_leaves_the_framework_open_until_it_is_chosen():
    source = resolve("lenet5")
    assert (source.kind, source.framework, source.name, source.config) == ("zoo", None, "lenet5", "tiny")
    assert resolve("lenet5@torch") == with_framework(Source(**{**source.__dict__, "given": "lenet5@torch"}), "torch")
    assert environments(resolve("lenet5@torch")) == ("torch",)
    assert environments(resolve("lenet5@keras")) == ("keras-tensorflow", "keras-torch")
    assert resolve("lenet5:reference@keras").config == "reference"
    hashes = {resolve(text).sha256 for text in ("lenet5", "lenet5@torch", "lenet5@keras", "lenet5:reference@keras")}
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lenet55", "lenet5"),
        ("lenet5:tinny", "lenet5:tiny"),
        ("lenet5@jax", "allowed: keras, torch"),
        ("no_such_model", "lenet5"),
    ],
)
def test_an_unknown_zoo_name_is_answered_with_what_is_known(text, said):
    with pytest.raises(UsageError) as error:
        resolve(text)
    assert said in f"{error.value} {error.value.hint}"


def test_the_framework_of_a_decided_source_cannot_be_changed():
    with pytest.raises(UsageError, match="torch"):
        with_framework(resolve("lenet5@torch"), "keras")


# --- files that are missing, of the wrong kind, or damaged ---------------------------------------------------------


def test_a_missing_file_suggests_the_nearest_one(tmp_path):
    keras_file(tmp_path / "model.keras")
    with pytest.raises(UsageError) as error:
        resolve(str(tmp_path / "modle.keras"))
    assert "model.keras" in error.value.hint


@pytest.mark.parametrize("name", ["model.mlmodel", "model.tflite", "weights.npz", "README"])
def test_another_extension_says_what_is_allowed(tmp_path, name):
    (tmp_path / name).write_bytes(b"12345678")
    with pytest.raises(UsageError) as error:
        resolve(str(tmp_path / name))
    assert ".pt2" in error.value.hint and ".keras" in error.value.hint


def test_a_folder_needs_a_saved_model(tmp_path):
    with pytest.raises(UsageError, match="empty folder"):
        resolve(str(tmp_path))
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match=r"saved_model\.pb"):
        resolve(str(tmp_path))


def test_a_folder_with_a_model_in_it_names_that(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"12345678")
    with pytest.raises(UsageError, match="is a folder, not a SavedModel") as error:
        resolve(str(tmp_path))
    assert error.value.hint == f"Give the file in it: {tmp_path / 'model.onnx'}."


def test_what_hugging_face_saves_needs_code(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="a folder of Hugging Face, which holds no code") as error:
        resolve(str(tmp_path))
    assert f"from_pretrained({str(tmp_path)!r})" in error.value.hint and "example_inputs" in error.value.hint
    (tmp_path / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(UsageError) as error:
        resolve(str(tmp_path / "model.safetensors"))
    assert error.value.hint.startswith("Weights alone: hand in file.py:function")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".pt2", ".pt"])
def test_an_empty_file_is_damaged(tmp_path, suffix):
    (tmp_path / f"model{suffix}").write_bytes(b"")
    with pytest.raises(DamagedFileError, match="0 bytes"):
        resolve(str(tmp_path / f"model{suffix}"))


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "model.h5")  # reading it would wait for ever
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        resolve(str(tmp_path / "model.h5"))
    folder = saved_model(tmp_path / "m")
    os.mkfifo(folder / "pipe")
    with pytest.raises(UnsafeInputError, match="pipe is no file"):
        resolve(str(folder))


def test_a_link_in_a_folder_is_refused_unless_trusted(tmp_path):
    folder = saved_model(tmp_path / "m")
    (folder / "assets").symlink_to("/etc/hostname")
    with pytest.raises(UnsafeInputError, match="assets is a link to /etc/hostname"):
        resolve(str(folder))
    assert resolve(str(folder), trust=True).kind == "savedmodel"
    (tmp_path / "typed").symlink_to(tmp_path / "m")  # the user's own link
    (folder / "assets").unlink()
    assert resolve(str(tmp_path / "typed")).sha256 == resolve(str(folder)).sha256


@pytest.mark.parametrize("content", [b"not a model at all", b"PK\x03\x04" * 9, b"\x89HDF" * 9, b"[" * 100_000])
def test_the_content_of_a_file_is_not_looked_at(tmp_path, content):
    for suffix in (".keras", ".h5", ".pt2", ".pt"):
        path = tmp_path / f"model{suffix}"
        path.write_bytes(content)
        source = resolve(str(path))
        assert (source.confined, source.loaders, source.keras_version) == (False, (), "")


def test_what_was_found_in_a_file_goes_with_its_copy(tmp_path):
    source = resolve(str(keras_file(tmp_path / "m.keras")))
    facts = Facts(("tf-keras",), "2.15.0", "model.keras")
    found = with_facts(source, facts, tmp_path / "copy")
    assert (found.path, found.confined, found.sha256) == (tmp_path / "copy" / "model.keras", True, source.sha256)
    assert environments(found) == ("tf-keras",)
    assert wire.read(Facts, json.loads(json.dumps(wire.plain(facts)))) == facts
    trusted = with_facts(source, Facts(("tf-keras",), "2.15.0"), tmp_path / "copy")
    assert (trusted.path, trusted.confined) == (source.path, False)


@pytest.mark.parametrize(
    "said",
    [
        {"environments": ["gpu"]},
        {"environments": []},
        {"environments": ["torch"], "file": "../../.ssh/id_rsa"},
        {"environments": ["torch"], "file": "/etc/passwd"},
        {"file": "model"},
        [],
    ],
)
def test_facts_of_a_confined_child_are_not_believed(said):
    with pytest.raises(ValueError):
        wire.read(Facts, said)


# --- Python files --------------------------------------------------------------------------------------------------


def test_a_python_function_is_found_without_running_the_file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("raise SystemExit('ran')\nimport torch\ndef build(): ...\nother = build\n")
    source = resolve(f"{path}:build")
    assert (source.kind, source.framework, source.function, source.name) == ("python", "torch", "build", "net-build")
    assert resolve(f"{path}:other").function == "other"
    with pytest.raises(UsageError) as error:
        resolve(f"{path}:biuld")
    assert "net.py:build" in error.value.hint
    with pytest.raises(UsageError, match="names no function"):
        resolve(str(path))


def test_a_python_file_with_an_error_is_reported(tmp_path):
    (tmp_path / "net.py").write_text("def f(:\n")
    with pytest.raises(UsageError, match="not valid Python"):
        resolve(f"{tmp_path / 'net.py'}:f")


def test_a_python_file_nested_too_deep_is_reported(tmp_path):
    (tmp_path / "net.py").write_text("x = " + "(" * 5000 + ")" * 5000 + "\ndef f(): ...\n")
    with pytest.raises(UsageError, match="not valid Python"):
        resolve(f"{tmp_path / 'net.py'}:f")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from torch import nn", "torch"),
        ("import keras", "keras"),
        ("import tensorflow as tf, numpy", "keras"),
        ("import keras, torch", None),
        ("import numpy", None),
    ],
)
def test_the_framework_is_guessed_from_the_imports(tmp_path, text, expected):
    (tmp_path / "net.py").write_text(f"{text}\ndef f(): ...\n")
    assert resolve(f"{tmp_path / 'net.py'}:f").framework == expected


def test_the_hash_covers_the_modules_beside_the_file(tmp_path):
    (tmp_path / "net.py").write_text("def f():\n    from blocks import g\n")
    (tmp_path / "blocks.py").write_text("import torch\nimport unrelated_package\n")
    (tmp_path / "notes.py").write_text("x = 1\n")
    first = resolve(f"{tmp_path / 'net.py'}:f")
    assert first.framework == "torch"
    (tmp_path / "notes.py").write_text("x = 2\n")
    assert resolve(f"{tmp_path / 'net.py'}:f").sha256 == first.sha256
    (tmp_path / "blocks.py").write_text("import torch\n")
    assert resolve(f"{tmp_path / 'net.py'}:f").sha256 != first.sha256


# --- declared inputs, JSON, hashes ---------------------------------------------------------------------------------

names = st.text("abcxyz_0123456789.", min_size=1)
shapes = st.lists(st.integers(1, 4096), max_size=4).map(lambda rest: (1, *rest))


@given(names, shapes, st.sampled_from(DTYPES))
def test_a_declared_input_is_read_back(name, shape, dtype):
    assert parse_input(f"{name}={'x'.join(map(str, shape))}:{dtype}") == TensorSpec(name, shape, dtype)


@pytest.mark.parametrize("text", ["x", "x=", "=1x3", "x=1xx3", "x=1x3:float31", "x=2x0", "x=1x0", "x=1,3", "1x3x224"])
def test_a_declaration_that_cannot_be_is_refused(text):
    with pytest.raises(UsageError, match=r"--input"):
        parse_input(text)


def test_a_shape_without_a_name_is_told_to_have_one() -> None:
    with pytest.raises(UsageError, match="--input '1x3x32x32' names no input") as caught:
        parse_input("1x3x32x32")
    assert "x=1x3x32x32" in caught.value.hint


def test_an_input_cannot_be_declared_twice():
    with pytest.raises(UsageError, match="more than once"):
        resolve("lenet5", inputs=["x=1x3", "x=1x4"])


def test_a_source_goes_through_json(tmp_path):
    source = resolve(str(h5_file(tmp_path / "m.h5")), inputs=["a=1x2:int32", "b=1x3x4"], trust=True)
    source = with_facts(source, Facts(("torch",), "", "model.pt2"), tmp_path)
    assert wire.read(Source, json.loads(json.dumps(wire.plain(source)))) == source


def test_replaced_weights_change_the_hash(tmp_path):
    (tmp_path / "w").write_bytes(b"1")
    one = with_weights(resolve("lenet5@torch"), tmp_path / "w")
    (tmp_path / "w").write_bytes(b"2")
    assert one.sha256 != with_weights(resolve("lenet5@torch"), tmp_path / "w").sha256
    assert Path(str(one.weights)).is_absolute()


def test_recognising_a_source_imports_no_framework_and_no_numpy():
    code = (
        "import sys\nfrom edgekit.sources.source import resolve\nresolve('lenet5@torch')\n"
        "print(sorted({'numpy', 'torch', 'keras', 'tensorflow', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
