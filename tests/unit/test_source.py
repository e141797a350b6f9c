"""What may be handed in, and what is refused, before any framework sees it."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import DamagedFileError, UnsafeInputError, UsageError
from edgekit.signature import TensorSpec
from edgekit.sources import saved_model_proto, unsafe
from edgekit.sources.source import DTYPES, Source, environments, parse_input, resolve, with_framework, with_weights


def layer(class_name, module="keras.layers", registered_name=None, **config):
    return {"class_name": class_name, "module": module, "registered_name": registered_name, "config": config}


def model(*layers):
    return {"class_name": "Functional", "module": "keras", "config": {"name": "m", "layers": list(layers)}}


def keras_file(path, *layers, version="3.15.1", members=()):
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["w"] = np.arange(64, dtype="float32")
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("metadata.json", json.dumps({"keras_version": version}))
        opened.writestr("config.json", json.dumps(model(*layers)))
        opened.writestr("model.weights.h5", weights.getvalue())
        for name, data in members:
            opened.writestr(name, data)
    return path


def h5_file(path, *layers, version="2.15.0"):
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(model(*layers))
        file["w"] = np.ones(3)
    return path


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


@pytest.mark.parametrize("name", ["model.onnx", "model.tflite", "weights.npz", "README"])
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


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".pt2", ".pt"])
@pytest.mark.parametrize("content", [b"", b"not a model at all"])
def test_a_file_that_is_not_what_it_says_is_damaged(tmp_path, suffix, content):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="model"):
        resolve(str(path))


@pytest.mark.parametrize("make", [keras_file, h5_file], ids=["keras", "h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_keras_file_is_damaged(tmp_path, make, share):
    path = make(tmp_path / f"model.{'keras' if make is keras_file else 'h5'}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DamagedFileError, match=r"model\.(keras|h5)"):
        resolve(str(path))


def test_a_flipped_bit_in_an_archive_is_found_wherever_a_member_is(tmp_path):
    path = keras_file(tmp_path / "model.keras")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as opened:
        starts = [m.header_offset + 30 + len(m.filename) for m in opened.infolist()]
    for start in starts:
        path.write_bytes(data[: start + 5] + bytes([data[start + 5] ^ 4]) + data[start + 6 :])
        with pytest.raises(DamagedFileError, match=r"model\.keras"):
            resolve(str(path), trust=True)
    path.write_bytes(data)
    assert resolve(str(path)).kind == "keras"


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path):
    for name in ("../evil.txt", "/etc/evil", "assets/..\\..\\evil"):
        with pytest.raises(UnsafeInputError, match="evil"):
            resolve(str(keras_file(tmp_path / "model.keras", members=[(name, b"x")])))


def test_weights_without_a_model_are_told_from_a_model(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["w"] = np.ones(3)
    with pytest.raises(UsageError, match="weights only"):
        resolve(str(tmp_path / "weights.h5"))


# --- Keras files that carry code -----------------------------------------------------------------------------------

CODE = [
    layer("Lambda", name="evil", function=["4wE=", None, None]),
    layer("TFSMLayer", filepath="/tmp/x"),
    layer("TorchModuleWrapper", module="keras.layers", torch_module="gASV"),
    layer("Dense", name="d", activation={"value": ["4wEAAA==", None, None]}),
    layer("Dense", name="d", activation={"class_name": "function", "config": ["4wEAAA==", None, None]}),
    layer("TimeDistributed", layer=layer("Lambda", name="deep")),
    layer("StringLookup", vocabulary="/etc/passwd"),
    layer("Evil", module="os", name="e"),
    layer("Mine", module=None, registered_name="Custom>Mine"),
]


@pytest.mark.parametrize("code", CODE, ids=lambda c: c["class_name"])
@pytest.mark.parametrize("make", [keras_file, h5_file], ids=["keras", "h5"])
def test_code_in_a_keras_file_is_refused_unless_trusted(tmp_path, make, code):
    path = make(tmp_path / f"m.{'keras' if make is keras_file else 'h5'}", layer("InputLayer"), code, version="3.15.1")
    with pytest.raises(UnsafeInputError) as error:
        resolve(str(path))
    assert error.value.exit_code == 8 and "--trust" in error.value.hint
    assert resolve(str(path), trust=True).trust


@pytest.mark.parametrize("function", ["io.write_file", "raw_ops.ReadFile", "py_function", "numpy_function", "print"])
def test_a_tensorflow_function_by_name_may_only_compute(tmp_path, function):
    with pytest.raises(UnsafeInputError, match="calls tf"):
        resolve(str(h5_file(tmp_path / "m.h5", layer("TFOpLambda", name="t", function=function))))


@pytest.mark.parametrize("function", ["math.multiply", "__operators__.add", "nn.relu", "compat.v1.shape"])
def test_a_tensorflow_function_that_computes_is_allowed(tmp_path, function):
    source = resolve(str(h5_file(tmp_path / "m.h5", layer("TFOpLambda", name="t", function=function))))
    assert environments(source) == ("tf-keras",)


def test_an_hdf5_link_to_another_file_is_refused(tmp_path):
    path = h5_file(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.create_group("g")["out"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(UnsafeInputError, match="/etc/passwd"):
        resolve(str(path))


def test_an_hdf5_dataset_kept_in_another_file_is_refused(tmp_path):
    path = h5_file(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("e", (4,), "u1", external=[("/etc/hostname", 0, 4)])
    with pytest.raises(UnsafeInputError, match="other files"):
        resolve(str(path))


@pytest.mark.parametrize(
    ("layers", "version", "expected"),
    [
        ([layer("Conv2D", groups=1, name="c"), layer("Dense", name="d")], "2.4.0", "keras-tensorflow"),
        ([layer("DepthwiseConv2D", groups=1, name="c")], "2.4.0", "tf-keras"),
        ([layer("MultiHeadAttention", name="c")], "2.11.0", "tf-keras"),
        ([layer("Sequential", name="inner", layers=[layer("Dense", name="d")])], "2.11.0", "tf-keras"),
        ([layer("DepthwiseConv2D", name="c")], "3.15.1", "keras-tensorflow"),
        ([layer("MultiHeadAttention", name="c")], "3.0.0", "keras-tensorflow"),
    ],
)
def test_an_h5_goes_where_it_can_be_loaded(tmp_path, layers, version, expected):
    assert environments(resolve(str(h5_file(tmp_path / "m.h5", *layers, version=version))))[0] == expected


def test_a_keras_2_archive_goes_to_tf_keras(tmp_path):
    assert environments(resolve(str(keras_file(tmp_path / "m.keras", version="2.15.0")))) == ("tf-keras",)


# --- SavedModels: a protocol buffer written by hand ----------------------------------------------------------------


def field(number, payload):
    size, out = len(payload), bytes([number << 3 | 2])
    while size > 127:
        out, size = out + bytes([size & 127 | 128]), size >> 7
    return out + bytes([size]) + payload


def node(op, calls=None):
    called = field(5, field(1, b"f") + field(2, field(10, field(1, calls.encode())))) if calls else b""
    return field(1, b"n") + field(2, op.encode()) + called


def saved_model(folder, main=("Const",), functions=None):
    library = b"".join(
        field(1, field(1, field(1, name.encode())) + b"".join(field(3, n) for n in nodes))
        for name, nodes in (functions or {}).items()
    )
    graph = b"".join(field(1, node(op)) for op in main) + field(2, library)
    folder.mkdir(exist_ok=True)
    meta = field(2, graph) + field(5, field(1, b"serving_default") + field(2, b""))
    (folder / "saved_model.pb").write_bytes(b"\x08\x01" + field(2, meta))
    return folder


SAVERS = {
    "__inference__traced_save_12": [node("SaveV2"), node("MergeV2Checkpoints"), node("ShardedFilename")],
    "__inference__traced_restore_13": [node("RestoreV2")],
}


def test_the_proto_is_read_without_tensorflow(tmp_path):
    graphs = saved_model_proto.read(saved_model(tmp_path / "m", ["MatMul"], {"f": [node("Relu", "g")], "g": []}))
    assert graphs.main == {"MatMul"}
    assert graphs.functions == {"f": {"Relu"}, "g": frozenset()}
    assert graphs.calls["f"] == {"Relu", "g"}
    assert graphs.signatures == ("serving_default",)


def test_a_saved_model_may_save_and_restore_its_own_variables(tmp_path):
    folder = saved_model(tmp_path / "m", ["SaveV2", "MatMul"], {**SAVERS, "f": [node("MatMul")]})
    assert resolve(str(folder)).kind == "savedmodel"


@pytest.mark.parametrize(
    ("main", "functions"),
    [
        (["ReadFile"], {}),
        (["WriteFile"], {}),
        (["Const"], {"f": [node("EagerPyFunc")]}),
        (["Const"], {"f": [node("PyFuncStateless")]}),
        (["PyFunc"], {}),
        (["Const"], {"f": [node("PrintV2")]}),
        (["Const"], {"f": [node("RestoreV2")]}),
        (["Const"], {**SAVERS, "f": [node("StatefulPartitionedCall", "__inference__traced_save_12")]}),
        (["Const"], {**SAVERS, "f": [node("__inference__traced_restore_13")]}),
        (["InitializeTableFromTextFileV2"], {}),
        (["TextLineDataset"], {}),
    ],
)
def test_a_saved_model_that_does_more_than_compute_is_refused(tmp_path, main, functions):
    folder = saved_model(tmp_path / "m", main, functions)
    with pytest.raises(UnsafeInputError) as error:
        resolve(str(folder))
    assert error.value.exit_code == 8
    assert resolve(str(folder), trust=True).kind == "savedmodel"


@given(st.integers(0, 400))
def test_a_truncated_saved_model_never_passes(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("m")
    path = saved_model(folder, ["MatMul"] * 9, SAVERS) / "saved_model.pb"
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(DamagedFileError, match=r"saved_model\.pb"):
        resolve(str(folder))


def test_a_link_out_of_the_saved_model_is_refused(tmp_path):
    folder = saved_model(tmp_path / "m")
    (folder / "assets").symlink_to("/etc")
    with pytest.raises(UnsafeInputError, match="/etc"):
        resolve(str(folder))


# --- PyTorch files -------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def torch_zip(path, members):
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in members.items():
            opened.writestr(f"m/{name}", data)
    return path


def nested(obj, protocol=2):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as opened:
        opened.writestr("m/data.pkl", pickle.dumps(obj, protocol))
    return inner.getvalue()


def pt2(path, sample, weights=None):
    config = {"config": {"w": {"path_name": "weight_0", "use_pickle": weights is not None}}}
    return torch_zip(
        path,
        {
            "archive_format": b"pt2",
            "models/model.json": b"{}",
            "data/weights/model_weights_config.json": json.dumps(config).encode(),
            "data/weights/weight_0": b"\x80\x00\x00\x00" if weights is None else weights,
            "data/sample_inputs/model.pt": sample,
        },
    )


@pytest.mark.parametrize("protocol", range(6))
def test_a_pt2_whose_pickle_runs_code_is_refused(tmp_path, protocol):
    for sample in (pickle.dumps(Evil(), protocol), nested(Evil(), protocol)):
        with pytest.raises(UnsafeInputError, match="system"):
            resolve(str(pt2(tmp_path / "m.pt2", sample)))
    with pytest.raises(UnsafeInputError, match="weight_0"):
        resolve(str(pt2(tmp_path / "m.pt2", nested([]), weights=pickle.dumps(Evil(), protocol))))
    assert resolve(str(tmp_path / "m.pt2"), trust=True).trust


def test_a_pt2_of_tensors_passes(tmp_path):
    source = resolve(str(pt2(tmp_path / "m.pt2", nested({"a": [1, 2.0, ("x", None)]}))))
    assert (source.kind, source.framework, environments(source)) == ("pt2", "torch", ("torch",))


@pytest.mark.parametrize("member", ["data/aotinductor/model/x.so", "data/constants/custom_obj_0"])
def test_a_pt2_with_compiled_code_or_pickled_objects_is_refused(tmp_path, member):
    with pytest.raises(UnsafeInputError, match=member.split("/")[-1]):
        resolve(str(torch_zip(tmp_path / "m.pt2", {"models/model.json": b"{}", member: b"x"})))


def test_a_global_hidden_behind_the_memo_is_seen():
    code = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x30\x30h\x00h\x01\x93."
    assert unsafe.pickle_globals(code, "x") == "os.system"
    assert unsafe.pickle_globals(b"\x80\x02\x82\x01.", "x") == "unknown"


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl"])
def test_torch_save_files_are_refused_even_when_trusted(tmp_path, suffix):
    for data in (nested({"w": 1}), pickle.dumps({"w": 1}, 2)):
        (tmp_path / f"m{suffix}").write_bytes(data)
        for trust in (False, True):
            with pytest.raises(UnsafeInputError) as error:
                resolve(str(tmp_path / f"m{suffix}"), trust=trust)
            assert ".pt2" in error.value.hint and "weights_only" in error.value.hint


def test_torchscript_is_told_from_a_pickle_and_may_only_compute(tmp_path):
    code = {
        "constants.pkl": b"x",
        "data.pkl": b"x",
        "code/__torch__/m.py": b"def forward(self, x): return torch.relu(x)",
    }
    assert resolve(str(torch_zip(tmp_path / "m.pt", code))).kind == "torchscript"
    code["code/__torch__/m.py"] = b"  ops.aten.save(x, 'file')"
    with pytest.raises(UnsafeInputError, match="save"):
        resolve(str(torch_zip(tmp_path / "m.pt", code)))


def test_an_exported_program_called_pt_is_named(tmp_path):
    with pytest.raises(UsageError) as error:
        resolve(str(torch_zip(tmp_path / "m.pt", {"models/model.json": b"{}"})))
    assert ".pt2" in error.value.hint


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


@pytest.mark.parametrize("text", ["x", "x=", "=1x3", "x=1xx3", "x=1x3:float31", "x=2x3", "x=1x0", "x=1,3", "1x3x224"])
def test_a_declaration_that_cannot_be_is_refused(text):
    with pytest.raises(UsageError, match=r"--input"):
        parse_input(text)


def test_an_input_cannot_be_declared_twice():
    with pytest.raises(UsageError, match="more than once"):
        resolve("lenet5", inputs=["x=1x3", "x=1x4"])


def test_a_source_goes_through_json(tmp_path):
    source = resolve(str(h5_file(tmp_path / "m.h5")), inputs=["a=1x2:int32", "b=1x3x4"], trust=True)
    assert Source.from_json(json.loads(json.dumps(source.to_json()))) == source


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
