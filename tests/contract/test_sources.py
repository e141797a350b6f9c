"""Every kind of source: recognised, loaded in each kind of child that can, and equal to what its framework gives.

The files are written by the frameworks themselves, in children (``children/source_files.py``).
"""

import os
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import DamagedFileError, UnsafeInputError, UnsupportedError, UsageError
from edgekit.jobs import wire
from edgekit.jobs.workers import Workers
from edgekit.sources.check import check
from edgekit.sources.source import FILES, Source, environments, resolve, with_facts, with_framework

CHILDREN = Path(__file__).parent / "children"
TORCH_INPUTS = ("image=1x3x8x8", "ids=1x5:int32")


@pytest.fixture(scope="module")
def children():
    path = os.pathsep.join(p for p in (str(CHILDREN), os.environ.get("PYTHONPATH")) if p)
    with pytest.MonkeyPatch.context() as patch, Workers() as workers:
        patch.setenv("PYTHONPATH", path)
        yield workers


@pytest.fixture(scope="module")
def files(children, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for environment, maker in (("keras-tensorflow", "keras"), ("tf-keras", "keras2"), ("torch", "torch")):
        children.call(environment, f"source_files:{maker}_files", {"folder": str(folder)})
    return folder


@pytest.fixture
def look(tmp_path):
    """A source as it may be loaded; a file is looked at, and the copy that was checked is what is loaded."""

    def looked_at(text, inputs=(), trust=False):
        source = resolve(text, inputs=inputs, trust=trust)
        if source.kind not in FILES:
            return source
        folder = tmp_path / f"looked at {source.name}"
        folder.mkdir(exist_ok=True)
        return with_facts(source, check(Path(text), source.kind, text, folder, trust=trust), folder)

    return looked_at


def load(children, source, environment, data=None, out="."):
    arguments = {"environment": environment, "source": wire.plain(source), "data": data and str(data), "out": str(out)}
    return children.call(environment, "source_files:load", arguments).value


def compare(expected, results, tolerance):
    with np.load(expected) as wanted, np.load(results) as given:
        names = {name for name in wanted.files if name.startswith("out/")}
        assert names == {name for name in given.files if name.startswith("out/")}
        for name in names:
            assert given[name].dtype == np.float32
            np.testing.assert_allclose(given[name], wanted[name], rtol=0, atol=tolerance)
            np.testing.assert_allclose(given[name.replace("out/", "first/")], wanted[name][:1], rtol=0, atol=tolerance)


#: source (``{}``: the folder of files), declared inputs, its samples, the children that load it.
GOOD = [
    ("{}/cnn.keras", (), "cnn", ("keras-tensorflow", "keras-torch")),
    ("{}/cnn.h5", (), "cnn", ("keras-tensorflow", "keras-torch")),
    ("{}/multi.keras", (), "multi", ("keras-tensorflow", "keras-torch")),
    ("{}/free.keras", ("sequence=1x8x4",), "free", ("keras-tensorflow", "keras-torch")),
    ("{}/keras3_sm", (), "keras3_sm", ("keras-tensorflow",)),
    ("{}/tf_sm", (), "tf_sm", ("keras-tensorflow",)),
    ("{}/keras2_sm", (), "keras2_sm", ("keras-tensorflow",)),
    ("{}/keras2_cnn.h5", (), "keras2_cnn", ("keras-tensorflow", "keras-torch")),
    ("{}/keras2_old.h5", (), "keras2_old", ("tf-keras",)),
    ("{}/keras2_old.keras", (), "keras2_old", ("tf-keras",)),
    ("{}/static.pt2", (), "static", ("torch",)),
    ("{}/dynamic.pt2", (), "dynamic", ("torch",)),
    ("{}/script.pt", ("image=1x3x8x8",), "script", ("torch",)),
    (f"{CHILDREN}/user_models.py:torch_net", TORCH_INPUTS, "python", ("torch",)),
    (f"{CHILDREN}/user_models.py:trained_mode", TORCH_INPUTS, "python", ("torch",)),
    (f"{CHILDREN}/user_models.py:with_examples", (), "python", ("torch",)),
]
CASES = [(*row[:3], row[3], environment) for row in GOOD for environment in row[3]]


@pytest.mark.parametrize(
    ("text", "inputs", "data", "expected", "environment"),
    CASES,
    ids=lambda v: v.split("/")[-1] if isinstance(v, str) else "",
)
def test_a_source_gives_what_its_framework_gives(
    look, children, files, tmp_path, text, inputs, data, expected, environment
):
    source = look(text.format(files), inputs=inputs)
    assert environments(source) == expected
    facts = load(children, source, environment, files / f"{data}.npz", tmp_path)
    assert facts["kind"] == source.kind
    assert all(t["shape"][0] == 1 for side in facts["signature"].values() for t in side)
    compare(files / f"{data}.npz", tmp_path / "results.npz", 2e-5)


def test_a_dynamic_batch_is_fixed_and_said(look, children, files):
    for name, environment in (
        ("cnn.keras", "keras-tensorflow"),
        ("tf_sm", "keras-tensorflow"),
        ("dynamic.pt2", "torch"),
    ):
        facts = load(children, look(str(files / name)), environment)
        assert any("Dynamic batch" in note and "fixed to 1" in note for note in facts["notes"])
        assert facts["batch"] > 1
    facts = load(children, look(str(files / "static.pt2")), "torch")
    assert (facts["notes"], facts["batch"]) == ([], 1)


@pytest.mark.parametrize(
    ("name", "inputs", "environment", "shapes", "outputs", "notes"),
    [
        (
            "batch4.keras", (), "keras-tensorflow", {"x": [4, 3]}, [[4, 2]],
            ["Axis 0 of input 'x' is fixed to 4, as in the model."],
        ),
        (
            "free.keras", ("sequence=5x8x4",), "keras-tensorflow", {"sequence": [5, 8, 4]}, [[5, 2]],
            ["Dynamic batch of input 'sequence' fixed to 5.", "Dynamic axis 1 of input 'sequence' fixed to 8."],
        ),
        (
            "folded.keras", (), "keras-tensorflow", {"x": [1, 4, 8]}, [[4, 2]],
            ["Dynamic batch of input 'x' fixed to 1."],
        ),
        (
            "table.pt2", (), "torch", {"x": [16, 8]}, [[8], []],
            ["Axis 0 of input 'x' is fixed to 16, as in the model."],
        ),
        (
            "table.pt", ("x=16x8",), "torch", {"x": [16, 8]}, [[8], []],
            ["Axis 0 of input 'x' is fixed to 16, as in --input."],
        ),
        (
            "states.pt2", (), "torch", {"x": [1, 5, 6], "h": [2, 1, 8]}, [[1, 5, 8], [2, 1, 8]],
            ["Dynamic batch of input 'x' fixed to 1.", "Dynamic axis 1 of input 'h' fixed to 1.",
             "Axis 0 of input 'h' is fixed to 2, as in the model."],
        ),
    ],
    ids=["keras", "keras-declared", "keras-folded", "pt2", "torchscript", "pt2-states"],
)  # fmt: skip
def test_only_a_declared_batch_is_fixed_to_one(
    look, children, files, tmp_path, name, inputs, environment, shapes, outputs, notes
):
    random = np.random.default_rng(0)
    rows = {key: shape[1:] if shape[0] == 1 else shape for key, shape in shapes.items()}
    data = {f"in/{key}": random.normal(size=(3, *row)).astype("float32") for key, row in rows.items()}
    np.savez(tmp_path / "data.npz", **data)
    source = look(str(files / name), inputs=inputs)
    facts = load(children, source, environment, tmp_path / "data.npz", tmp_path)
    assert {t["name"]: t["shape"] for t in facts["signature"]["inputs"]} == shapes
    assert [t["shape"] for t in facts["signature"]["outputs"]] == outputs
    assert facts["notes"] == notes
    assert facts["batch"] == 1
    with np.load(tmp_path / "results.npz") as given:
        found = [given[key].shape for key in given.files if key.startswith("out/")]
    assert found == [(3, *(shape[1:] if shape[:1] == [1] else shape)) for shape in outputs]


def test_names_order_and_layout_are_the_models_own(look, children, files):
    facts = load(children, look(str(files / "multi.keras")), "keras-tensorflow")
    assert [t["name"] for t in facts["signature"]["inputs"]] == ["image", "ids_1"]
    assert [t["dtype"] for t in facts["signature"]["inputs"]] == ["float32", "int32"]
    assert [t["name"] for t in facts["signature"]["outputs"]] == ["aux_0", "aux_1", "logits"]
    assert "Input 'ids.1' is called 'ids_1'." in facts["notes"]
    assert load(children, look(str(files / "multi.keras")), "keras-torch")["signature"] == facts["signature"]
    facts = load(children, look("lenet5@torch"), "torch")
    [image] = facts["signature"]["inputs"]
    assert [image[key] for key in ("name", "shape", "dtype", "layout")] == [
        "image", [1, 1, 32, 32], "float32", "channels_first"
    ]  # fmt: skip


def test_a_model_that_takes_one_sample_at_a_time_gets_one(look, children):
    facts = load(children, look(f"{CHILDREN}/user_models.py:one_at_a_time"), "torch")
    assert facts["batch"] == 1


@pytest.mark.parametrize(
    ("text", "inputs", "environment", "others"),
    [
        (f"{CHILDREN}/user_keras.py:network", (), "keras-tensorflow", ("keras-torch", "keras-tensorflow")),
        (f"{CHILDREN}/user_keras.py:unnamed", (), "keras-tensorflow", ("keras-torch", "keras-tensorflow")),
        (f"{CHILDREN}/user_keras.py:own_layer", (), "keras-tensorflow", ("keras-torch",)),
        (f"{CHILDREN}/user_keras.py:subclassed", ("x=1x6",), "keras-tensorflow", ("keras-tensorflow",)),
        ("lenet5:reference@keras", (), "keras-tensorflow", ("keras-torch",)),
        (f"{CHILDREN}/user_models.py:random_weights", (), "torch", ("torch",)),
    ],
)
def test_random_weights_are_kept_for_every_other_child(look, children, tmp_path, text, inputs, environment, others):
    given = look(text, inputs=inputs)
    arguments = {"environment": environment, "source": wire.plain(given), "data": None, "out": str(tmp_path)}
    kept = wire.read(Source, children.call(environment, "source_files:materialise", arguments).value)
    assert kept.sha256 != given.sha256 and kept.given == given.given
    for other in others:
        out = tmp_path / other
        out.mkdir()
        load(children, kept, other, tmp_path / "expected.npz", out)
        compare(tmp_path / "expected.npz", out / "results.npz", 2e-5)


def test_a_function_is_identified_by_what_it_returns(look, children):
    for function, framework in (("from_torch", "torch"), ("from_keras", "keras")):
        source = look(f"{CHILDREN}/user_either.py:{function}")
        assert source.framework is None
        found = children.call("keras-tensorflow", "source_files:identify", {"source": wire.plain(source)}).value
        assert found == framework
    load(children, with_framework(source, "keras"), "keras-tensorflow")


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lambda.keras", "Lambda"),
        ("tfsm.keras", "TFSMLayer"),
        ("python_sm", "EagerPyFunc"),
        ("reads_sm", "ReadFile"),
        ("evil.pt2", r"os\.system"),
        ("state.pt", "pickle"),
        ("whole.pt", "pickle"),
    ],
)
def test_files_that_could_run_code_are_refused_before_a_framework_sees_them(look, files, name, said):
    with pytest.raises(UnsafeInputError, match=said) as error:
        look(str(files / name))
    assert error.value.exit_code == 8


@pytest.mark.parametrize(
    ("text", "inputs", "environment", "said"),
    [
        ("{}/nan.keras", (), "keras-tensorflow", "conv/kernel"),
        (f"{CHILDREN}/user_models.py:nan_weights", (), "torch", "fc.weight"),
        ("{}/free.keras", (), "keras-tensorflow", "input sequence cannot be found"),
        ("{}/free.keras", ("sequences=1x8x4",), "keras-tensorflow", "the model's inputs are sequence"),
        ("{}/script.pt", (), "torch", "input image cannot be found"),
        ("{}/script.pt", ("image=1x4x8x8",), "torch", "does not run on image=1x4x8x8:float32"),
        (f"{CHILDREN}/user_models.py:torch_net", (), "torch", "input image, ids cannot be found"),
        (f"{CHILDREN}/user_models.py:returns_a_class", (), "torch", "returned a type"),
        (f"{CHILDREN}/user_models.py:raises", (), "torch", "FileNotFoundError: weights.pt .*line"),
        (f"{CHILDREN}/user_keras.py:subclassed", (), "keras-tensorflow", "has not been built"),
        ("{}/several_sm", (), "keras-tensorflow", "one, two"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(look, children, files, text, inputs, environment, said):
    source = look(text.format(files), inputs=inputs)
    with pytest.raises(UsageError, match=said):
        load(children, source, environment)


def test_a_class_of_the_users_own_needs_the_users_code(look, children, files):
    with pytest.raises(UnsupportedError, match="Mine") as error:
        look(str(files / "keras2_custom.h5"))
    assert "file.py:function" in error.value.hint
    with pytest.raises(UsageError, match="Mine"):  # trust does not bring the code
        load(children, look(str(files / "keras2_custom.h5"), trust=True), "tf-keras")


def test_samples_unlike_the_model_are_refused(look, children, files, tmp_path):
    np.savez(tmp_path / "bad.npz", **{"in/image": np.zeros((2, 9, 8, 3), "float32")})
    with pytest.raises(UsageError, match=r"\(9, 8, 3\)"):
        load(children, look(str(files / "cnn.keras")), "keras-tensorflow", tmp_path / "bad.npz", tmp_path)


def damaged(path, out, change):
    copy = out / path.name
    data = path.read_bytes()
    copy.write_bytes(change(data))
    return copy


@pytest.mark.parametrize("name", ["cnn.keras", "cnn.h5", "keras2_old.h5", "static.pt2", "script.pt"])
def test_a_truncated_file_is_named(look, files, tmp_path, name):
    path = damaged(files / name, tmp_path, lambda data: data[: len(data) * 2 // 3])
    with pytest.raises(DamagedFileError, match=name):
        look(str(path))


@pytest.mark.parametrize("name", ["cnn.keras", "static.pt2", "script.pt"])
def test_a_flipped_bit_is_found_by_the_archives_checksums(look, files, tmp_path, name):
    for place in (0.3, 0.5):
        path = damaged(files / name, tmp_path, lambda data, at=place: flipped(data, int(len(data) * at)))
        with pytest.raises((DamagedFileError, UnsafeInputError), match=name):
            look(str(path))


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def test_damaged_variables_of_a_saved_model_are_found(look, children, files, tmp_path):
    import shutil

    copy = tmp_path / "keras3_sm"
    shutil.copytree(files / "keras3_sm", copy)
    path = next((copy / "variables").glob("variables.data*"))
    path.write_bytes(flipped(path.read_bytes(), 40))
    with pytest.raises(DamagedFileError, match="keras3_sm"):
        load(children, look(str(copy)), "keras-tensorflow")


# --- models of others ----------------------------------------------------------------------------------------------


@pytest.mark.outside
def test_the_keyword_spotter_scores_what_its_authors_say(look, children, outside, tmp_path):
    source = look(str(outside / "kws_dscnn" / "kws_ref_model"))
    with np.load(outside / "kws_dscnn" / "mfcc_600.npz") as stored:
        x = (stored["x"].astype("float32") - float(stored["zero_point"])) * float(stored["scale"])
        labels = stored["y"]
    np.savez(tmp_path / "data.npz", **{"in/input_1": x.astype("float32")})
    facts = load(children, source, "keras-tensorflow", tmp_path / "data.npz", tmp_path)
    assert facts["signature"]["inputs"][0]["shape"] == [1, 49, 10, 1]
    with np.load(tmp_path / "results.npz") as results:
        outputs = next(results[name] for name in results.files if name.startswith("out/"))
    assert (outputs.argmax(1) == labels).mean() == pytest.approx(0.905, abs=0.001)


@pytest.mark.outside
def test_the_anomaly_autoencoder_loads_alike_in_both_backends(look, children, outside, tmp_path):
    source = look(str(outside / "anomaly_autoencoder" / "ad01.h5"))
    assert source.keras_version == "2.4.0"
    np.savez(tmp_path / "d.npz", **{"in/input_1": np.random.default_rng(0).normal(size=(4, 640)).astype("float32")})
    outputs = {}
    for environment in environments(source):
        load(children, source, environment, tmp_path / "d.npz", tmp_path)
        with np.load(tmp_path / "results.npz") as results:
            outputs[environment] = next(results[name] for name in results.files if name.startswith("out/"))
    np.testing.assert_allclose(outputs["keras-tensorflow"], outputs["keras-torch"], rtol=0, atol=1e-4)
