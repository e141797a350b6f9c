"""Keras files that somebody hands in: what their configuration may name, what their HDF5 may point at, and damage."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError, UsageError
from edgekit.sources import keras_config
from edgekit.sources.source import environments
from tests.unit.handed_in import h5_file, keras_file, layer, look, model

MAKERS = pytest.mark.parametrize("make", [keras_file, h5_file], ids=["keras", "h5"])


def made(make, folder, *layers, version="3.15.1"):
    return make(folder / f"m.{'keras' if make is keras_file else 'h5'}", layer("InputLayer"), *layers, version=version)


# --- what reads, writes or executes: exit 8 ------------------------------------------------------------------------

UNSAFE = [
    layer("Lambda", name="evil", function=["4wE=", None, None]),
    layer("Lambda", name="named", function="get_file", function_type="function", module="keras.utils"),
    layer("Lambda", name="v3", function={"class_name": "__lambda__", "config": {"value": ["4wE=", None, None]}}),
    layer("TFSMLayer", filepath="/tmp/x"),
    layer("TorchModuleWrapper", torch_module="gASV"),
    layer("JaxLayer", call_fn="x"),
    layer("FlaxLayer", module="x"),
    layer("TensorFlowOpLayer", node_def='{"op": "WriteFile"}'),
    layer("Dense", name="d", activation={"class_name": "__lambda__", "config": {"value": ["4wE=", None, None]}}),
    layer("Dense", name="d", activation={"class_name": "function", "config": ["4wEAAA==", None, None]}),
    layer("Dense", activation={"module": "os", "class_name": "function", "config": "system"}),
    layer("Dense", activation={"module": "builtins.x", "class_name": "Lambda", "config": {}}),
    layer("TimeDistributed", layer=layer("Lambda", name="deep")),
    layer("Sequential", layers=[layer("Sequential", layers=[layer("Lambda")])]),
    layer("Bidirectional", layer=layer("RNN", cell=layer("TorchModuleWrapper"))),
    layer("StringLookup", vocabulary="/etc/passwd"),
    layer("IntegerLookup", vocabulary="/etc/passwd"),
    layer("TextVectorization", vocabulary="gs://bucket/words.txt"),
    layer("Evil", module="os", name="e"),
    layer("Popen", module="subprocess", args=["true"]),
    layer("function", module="subprocess", config="call"),
    {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "registered_name": None, "config": []},
    layer("TFOpLambda", name="t", function="keras.models.model_from_json"),
    layer("TFOpLambda", name="t", function="keras.models.load_model"),
    layer("TFOpLambda", name="t", function="keras.utils.get_file"),
    layer("SlicingOpLambda", name="t", function="io.write_file"),
    layer("TFOpLambda", name="t", function="compat.v1.py_func"),
    layer("TFOpLambda", name="t", function="raw_ops.ReadFile"),
    layer("TFOpLambda", name="t", function="numpy_function"),
    layer("TFOpLambda", name="t", function="io.gfile.copy"),
    layer("TFOpLambda", name="t", function="saved_model.load"),
    layer("TFOpLambda", name="t", function="data.Dataset.from_generator"),
    layer("TFOpLambda", name="t", function="load_library"),
    layer("TFOpLambda", name="t", function="print"),
]


@pytest.mark.parametrize("code", UNSAFE, ids=lambda c: f"{c['class_name']} {str(c['config'])[:40]}")
@MAKERS
def test_what_reads_writes_or_executes_is_refused_unless_trusted(tmp_path, make, code):
    path = made(make, tmp_path, code)
    with pytest.raises(UnsafeInputError) as error:
        look(path, tmp_path)
    assert error.value.exit_code == 8 and "--trust" in error.value.hint
    assert look(path, tmp_path, trust=True).confined is False


def test_a_model_as_the_text_of_a_constant_is_not_reached(tmp_path):
    """Keras 2: a layer that calls ``model_from_json`` on a constant, which holds a lambda."""
    evil = json.dumps(model(layer("Lambda", function=["4wE=", None, None])))
    calls = layer("TFOpLambda", name="t", function="keras.models.model_from_json")
    calls["inbound_nodes"] = [[["x", 0, 0, {"json_string": evil}]]]
    with pytest.raises(UnsafeInputError, match=r"calls tf\.keras\.models\.model_from_json"):
        look(h5_file(tmp_path / "m.h5", calls), tmp_path)


# --- what is on no list: exit 3 -------------------------------------------------------------------------------------

UNKNOWN = [
    layer("Mine", module=None, registered_name="Custom>Mine"),
    layer("Mine", module="my_package.layers"),
    layer("Dense", registered_name="my_package>Dense"),
    layer("NewLayer"),
    layer("Dense", activation="eval"),
    layer("Dense", activation="my_activation"),
    layer("Dense", activation={"module": "builtins", "class_name": "function", "config": "my_activation"}),
    layer("Dense", activation={"value": ["4wEAAA==", None, None]}),
    layer("Dense", kernel_initializer="backend"),
    layer("Dense", kernel_regularizer="serialize_keras_object"),
    layer("LSTM", recurrent_activation="tf"),
    layer("ClassMethod", cls_symbol="RaggedTensor", method_name="from_row_splits"),
    layer("InstanceMethod", method_name="numpy"),
    layer("InstanceProperty", attr_name="__class__"),
    layer("DenseFeatures", feature_columns=[]),
    layer("TFOpLambda", name="t", function="custom_gradient"),
    layer("TFOpLambda", name="t", function="nn.unheard_of"),
    layer("TFOpLambda", name="t", function="somewhere.add"),
    layer("Map", module="keras.src.ops.core"),
]


@pytest.mark.parametrize("code", UNKNOWN, ids=lambda c: f"{c['class_name']} {str(c['config'])[:40]}")
@MAKERS
def test_what_is_on_no_list_is_unsupported_and_names_the_way_on(tmp_path, make, code):
    path = made(make, tmp_path, code)
    with pytest.raises(UnsupportedError) as error:
        look(path, tmp_path)
    assert error.value.exit_code == 3
    assert "--trust" in error.value.hint and "file.py:function" in error.value.hint
    assert look(path, tmp_path, trust=True).confined is False


# --- what computes passes -------------------------------------------------------------------------------------------

KNOWN = [
    layer("Dense", name="d", activation="relu", kernel_initializer=layer("GlorotUniform", module="keras.initializers")),
    layer("Dense", activation={"module": "keras.activations", "class_name": "function", "config": "gelu",
                               "registered_name": "gelu"}),
    layer("Dense", kernel_initializer="glorot_uniform", bias_initializer="zeros", kernel_regularizer=None),
    layer("Dense", dtype=layer("DTypePolicy", module="keras", name="mixed_float16")),
    layer("Add", module="keras.src.ops.numpy"),
    layer("Functional", module="keras.src.models.functional", layers=[layer("Conv2D", filters=1)]),
    layer("StringLookup", vocabulary=["a", "b"]),
    layer("Bidirectional", layer=layer("LSTM", units=2, activation="tanh", recurrent_activation="sigmoid")),
    layer("TFOpLambda", function="math.multiply"),
    layer("TFOpLambda", function="__operators__.add"),
    layer("SlicingOpLambda", function="__operators__.getitem"),
    layer("TFOpLambda", function="compat.v1.shape"),
    layer("TFOpLambda", function="cast"),
    {**layer("Sequential", layers=[]), "compile_config": {"optimizer": layer("Adam", module="keras.optimizers"),
                                                          "loss": "mse", "metrics": ["accuracy"]}},
]  # fmt: skip


@pytest.mark.parametrize("known", KNOWN, ids=lambda c: f"{c['class_name']} {str(c['config'])[:40]}")
@MAKERS
def test_what_computes_passes_and_a_copy_is_loaded(tmp_path, make, known):
    path = made(make, tmp_path, known)
    source = look(path, tmp_path)
    assert source.confined and source.path != str(path)
    assert source.sha256 == look(path, tmp_path, trust=True).sha256


def test_what_the_outermost_model_was_compiled_with_is_not_read(tmp_path):
    """``load_model(..., compile=False)`` drops it, and the user's own loss is no part of the model."""
    config = {**model(layer("Dense")), "compile_config": {"loss": {"class_name": "function", "config": "my_loss"}}}
    keras_config.check(config, "m")
    nested = model({**layer("Sequential", layers=[]), "compile_config": config["compile_config"]})
    with pytest.raises(UnsupportedError, match="my_loss"):
        keras_config.check(nested, "m")


# --- HDF5 that points elsewhere -------------------------------------------------------------------------------------


def test_an_hdf5_link_to_another_file_is_refused(tmp_path):
    path = h5_file(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.create_group("g")["out"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(UnsafeInputError, match="/etc/passwd"):
        look(path, tmp_path)


def test_an_hdf5_dataset_kept_in_another_file_is_refused(tmp_path):
    path = h5_file(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("e", (4,), "u1", external=[("/etc/hostname", 0, 4)])
    with pytest.raises(UnsafeInputError, match="other files"):
        look(path, tmp_path)


def test_a_virtual_dataset_is_refused_in_the_weights_of_an_archive_too(tmp_path):
    weights = tmp_path / "weights.h5"
    with h5py.File(weights, "w") as file:
        layout = h5py.VirtualLayout((4,), "u1")
        layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
        file.create_virtual_dataset("v", layout)
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("metadata.json", "{}")
        opened.writestr("config.json", json.dumps(model()))
        opened.writestr("model.weights.h5", weights.read_bytes())
    with pytest.raises(UnsafeInputError, match="other files"):
        look(path, tmp_path)


def test_groups_that_contain_each_other_are_looked_at_once(tmp_path):
    path = h5_file(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        group = file.create_group("g")
        group["self"] = group
        group["up"] = file["/"]
        group["soft"] = h5py.SoftLink("/g")
    assert look(path, tmp_path).confined


# --- archives --------------------------------------------------------------------------------------------------------


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = keras_file(tmp_path / "m.keras", members=[("config.json", json.dumps(model(layer("Dense"))))])
    with pytest.raises(UnsafeInputError, match=r"'config\.json' 2 times"):
        look(path, tmp_path)


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil", "assets/..\\..\\evil", "assets/../../evil"])
def test_an_archive_cannot_write_outside_of_its_folder(tmp_path, name):
    with pytest.raises(UnsafeInputError, match="evil"):
        look(keras_file(tmp_path / "m.keras", members=[(name, b"x")]), tmp_path)


def test_the_archive_that_is_loaded_is_written_anew(tmp_path):
    """Two archives in one file: readers that begin at either end find another model."""
    inner = keras_file(tmp_path / "first.keras", layer("Lambda"))
    outer = keras_file(tmp_path / "second.keras", layer("Dense"))
    path = tmp_path / "m.keras"
    path.write_bytes(inner.read_bytes() + outer.read_bytes())
    source = look(path, tmp_path)
    with zipfile.ZipFile(source.path) as copy:
        assert json.loads(copy.read("config.json")) == model(layer("Dense"))
        assert all(m.compress_type == zipfile.ZIP_STORED and not m.extra for m in copy.infolist())
    assert b"Lambda" not in Path(source.path).read_bytes()


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_damaged(tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("model.weights.h5", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DamagedFileError, match="that cannot be"):
        look(path, tmp_path)


def test_a_dataset_that_says_to_be_far_larger_than_the_file_is_damaged(tmp_path):
    path = h5_file(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("bomb", (1 << 40,), "f4", chunks=(1 << 20,))
    with pytest.raises(DamagedFileError, match="bomb says to have"):
        look(path, tmp_path)


# --- damage: exit 2 and one sentence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("content", [b"not a model at all", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n" + bytes(90)])
def test_a_file_that_is_not_what_it_says_is_damaged(tmp_path, suffix, content, trust):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="model"):
        look(path, tmp_path, trust=trust)


@MAKERS
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_keras_file_is_damaged(tmp_path, make, share):
    path = made(make, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DamagedFileError, match=r"m\.(keras|h5)"):
        look(path, tmp_path)


@pytest.mark.parametrize("trust", [False, True])
def test_a_flipped_bit_in_an_archive_is_found_wherever_a_member_is(tmp_path, trust):
    path = keras_file(tmp_path / "model.keras")
    data = path.read_bytes()
    with zipfile.ZipFile(path) as opened:
        starts = [m.header_offset + 30 + len(m.filename) for m in opened.infolist()]
    for start in starts:
        path.write_bytes(data[: start + 5] + bytes([data[start + 5] ^ 4]) + data[start + 6 :])
        with pytest.raises(DamagedFileError, match=r"model\.keras"):
            look(path, tmp_path, trust=trust)
    path.write_bytes(data)
    assert look(path, tmp_path).kind == "keras"


@pytest.mark.parametrize(
    "config",
    ["[" * 100_000, '{"a":' * 150_000, "[]", "null", "3", '{"class_name": 3}', '{"class_name": ["Dense"]}', "\x00", "{",
     "1" * 5000, json.dumps({"config": [[[[[]]]]] * 2})],
    ids=lambda text: text[:20],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_configuration_that_is_none_is_damaged(tmp_path, kind, config):
    path = tmp_path / f"m.{kind}"
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = config.replace("\x00", "\x01")
    else:
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("metadata.json", "{}")
            opened.writestr("config.json", config)
    if config == json.dumps({"config": [[[[[]]]]] * 2}):
        assert look(path, tmp_path).confined  # for Keras to say what it lacks
        return
    with pytest.raises((DamagedFileError, UsageError)):
        look(path, tmp_path)


def test_a_configuration_that_is_no_text_is_damaged(tmp_path):
    for value in (3, np.arange(4), h5py.Empty("f")):
        with h5py.File(tmp_path / "m.h5", "w") as file:
            file.attrs["model_config"] = value
        with pytest.raises(DamagedFileError, match=r"m\.h5"):
            look(tmp_path / "m.h5", tmp_path)


def test_weights_without_a_model_are_told_from_a_model(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["w"] = np.ones(3)
    with pytest.raises(UsageError, match="weights only"):
        look(tmp_path / "weights.h5", tmp_path)


def test_an_archive_without_its_configuration_is_damaged(tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("metadata.json", "{}")
    (tmp_path / "m.keras").write_bytes(made.getvalue())
    with pytest.raises(DamagedFileError, match=r"config\.json"):
        look(tmp_path / "m.keras", tmp_path)


# --- which Keras loads it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "version", "expected"),
    [
        ([layer("Conv2D", groups=1, name="c"), layer("Dense", name="d")], "2.4.0", "keras-tensorflow"),
        ([layer("DepthwiseConv2D", groups=1, name="c")], "2.4.0", "tf-keras"),
        ([layer("MultiHeadAttention", name="c")], "2.11.0", "tf-keras"),
        ([layer("TFOpLambda", name="c", function="cast")], "2.11.0", "tf-keras"),
        ([layer("Sequential", name="inner", layers=[layer("Dense", name="d")])], "2.11.0", "tf-keras"),
        ([layer("DepthwiseConv2D", name="c")], "3.15.1", "keras-tensorflow"),
        ([layer("MultiHeadAttention", name="c")], "3.0.0", "keras-tensorflow"),
    ],
)
def test_an_h5_goes_where_it_can_be_loaded(tmp_path, layers, version, expected):
    source = look(h5_file(tmp_path / "m.h5", *layers, version=version), tmp_path)
    assert (environments(source)[0], source.keras_version) == (expected, version)


def called(name, *calls, kind="SeparableConv2D"):
    """A layer of a graph of Keras 2: each call names the layers, and which of their calls, that it takes."""
    nodes = [[[other, number, 0, {}] for other, number in call] for call in calls]
    return {"class_name": kind, "name": name, "config": {"name": name}, "inbound_nodes": nodes}


INPUT = called("x", kind="InputLayer")


@pytest.mark.parametrize(
    ("layers", "waits"),
    [
        ([INPUT, called("a", [("x", 0)]), called("b", [("a", 0), ("x", 0)])], None),
        ([called("b", [("a", 0)]), called("a", [("x", 0)]), INPUT], None),  # in any order
        ([INPUT, called("a", [("x", 0)], [("b", 0)]), called("b", [("a", 0)], [("a", 1)])], None),  # a(b(a(x)))
        ([INPUT, called("a", [("x", 0)], [("x", 0)], kind="Functional"), called("b", [("a", 2)])], None),  # from one
        ([INPUT, called("a"), called("b", [("a", 0)])], "b"),
        ([INPUT, called("a", [("a", 0)])], "a"),
        ([INPUT, called("a", [("b", 0)]), called("b", [("a", 0)])], "a"),
        ([INPUT, called("a", [("x", 0)]), called("b", [("a", 2)])], "b"),
        ([INPUT, {**called("a"), "inbound_nodes": {}}, called("b", [("a", 0)])], "b"),
        ([INPUT, called("a", [("x", "0")])], "a"),
        ([INPUT, called("a", [("x", -1)])], "a"),
        ([INPUT, called("a", [("x", None)])], "a"),
        ([INPUT, {**called("a"), "inbound_nodes": [[["x", 0, 0, {"names": ["x", "y", "z"]}]]]}], None),
        ([INPUT, {**called("a"), "inbound_nodes": [[["x", 0, 0, {"mask": ["a", 0, 0]}]]]}], "a"),
    ],
)
@pytest.mark.parametrize("trust", [False, True])
def test_a_graph_that_tf_keras_would_try_to_build_without_end_is_damaged(tmp_path, layers, waits, trust):
    path = h5_file(tmp_path / "m.h5", *layers)
    if waits is None:
        assert look(path, tmp_path, trust=trust).loaders == ("tf-keras",)
        return
    with pytest.raises(DamagedFileError, match=f"the inputs of layer '{waits}' never come"):
        look(path, tmp_path, trust=trust)


def test_a_keras_2_archive_goes_to_tf_keras(tmp_path):
    assert environments(look(keras_file(tmp_path / "m.keras", version="2.15.0"), tmp_path)) == ("tf-keras",)
