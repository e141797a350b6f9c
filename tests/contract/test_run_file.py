"""`edgekit run`: a file of any format, or an artifact, on given or drawn numbers."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit import cli

DIGITS = Path(__file__).parents[1] / "example_project" / "artifacts" / "digits"
OLD = Path(__file__).parent / "artifacts" / "0.1.0"


def ran(capsys, *arguments):
    code = cli.run(["run", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("given", ["npz", "named", "npy", "sample"])
def test_an_artifact_on_given_samples_gives_its_golden_outputs(given, tmp_path, capsys):
    with np.load(DIGITS / "golden.npz") as golden:
        [name] = [n.removeprefix("in/") for n in golden.files if n.startswith("in/")]
        [made] = [n.removeprefix("out/") for n in golden.files if n.startswith("out/")]
        x, y = golden[f"in/{name}"], golden[f"out/{made}"]
    x, y = (x[:1], y[:1]) if given == "sample" else (x, y)
    inputs = tmp_path / ("x.npy" if given == "npy" else "x.npz")
    np.save(inputs, x) if given == "npy" else np.savez(inputs, **{name if given == "named" else "x": x})
    code, found = ran(capsys, DIGITS, "--inputs", inputs, "-o", tmp_path / "y.npz")
    assert code == 0
    assert (found["samples"], found["source"], found["stand_in"]) == (len(x), "given", False)
    with np.load(tmp_path / "y.npz") as outputs:
        np.testing.assert_allclose(outputs[made].reshape(y.shape), y, atol=1e-4)
    [row] = found["outputs"]
    assert (row["name"], row["min"]) == (made, pytest.approx(float(y.min()), abs=1e-4))


def test_without_inputs_numbers_are_drawn_and_said_so(capsys):
    file = next((OLD / "tflite-fp16").glob("*.tflite"))
    code, first = ran(capsys, file)
    assert (code, first["toolchain"], first["source"], first["samples"]) == (0, "litert", "generated", 1)
    assert first["inputs"][0]["min"] < 0 < first["inputs"][0]["max"]
    assert ran(capsys, file)[1] == first, "the same seed"
    assert cli.run(["run", str(file)]) == 0
    said = capsys.readouterr().out
    assert "drawn from a seed" in said and "ai-edge-litert" in said


@pytest.mark.parametrize(
    ("arrays", "says"),
    [({"a": np.zeros((2, 3)), "b": np.zeros(2)}, "has no array"), ({"x": np.zeros((2, 3))}, "the file takes")],
)
def test_inputs_that_do_not_fit_are_refused(arrays, says, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", **arrays)
    code, found = ran(capsys, DIGITS, "--inputs", tmp_path / "x.npz")
    assert code == 2 and says in found["reason"]


def test_labels_beside_the_inputs_are_left_out_and_said(tmp_path, capsys):
    with np.load(DIGITS / "golden.npz") as golden:
        [x] = [golden[name] for name in golden.files if name.startswith("in/")]
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(len(x), np.int64))
    code, found = ran(capsys, DIGITS, "--inputs", tmp_path / "x.npz")
    assert (code, found["samples"], found["left_out"]) == (0, len(x), ["y"])
    assert cli.run(["run", str(DIGITS), "--inputs", str(tmp_path / "x.npz")]) == 0
    assert "left out\ty (labels)" in capsys.readouterr().out


def table(folder):
    rows = onnx.numpy_helper.from_array(np.ones((4, 2), np.float32), "rows")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gather", ["rows", "ids"], ["out"])], "table",
        [onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, (1, 3))],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, (1, 3, 2))], [rows],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="rows.bin", size_threshold=0)
    return folder / "m.onnx"


def test_an_index_beyond_a_table_is_no_damaged_file(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", ids=np.array([[0, 1, 2], [0, 7, 2]]))
    code, found = ran(capsys, table(tmp_path), "--inputs", tmp_path / "x.npz")
    assert (code, found["error"]["code"]) == (2, "usage")
    assert found["reason"].startswith("m.onnx does not run on sample 1 of the inputs: ") and "idx=7" in found["reason"]


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([2, 1, np.nan], ["the input 'x' holds NaN in 1 of 3 values", "the output 'y' holds NaN in 1 of 3 values"]),
        ([1, -1, 0], ["the output 'y' holds NaN in 1 and infinity in 1 of 3 values", "all inputs are finite"]),
        ([1, 2, 3], []),
    ],
)
def test_what_is_no_number_is_said(tmp_path, capsys, x, said):
    values = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, (1, 3)) for n in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Log", ["x"], ["y"])], "log", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.array([x], np.float32))
    assert cli.run(["run", str(tmp_path / "m.onnx"), "--inputs", str(tmp_path / "x.npz"), "--json"]) == 0
    captured = capsys.readouterr()
    notes = json.loads(captured.out)["notes"]
    assert len(notes) == len(said)
    for note, text in zip(notes, said, strict=True):
        assert note.startswith(text) and f"note: {note}" in captured.err


def test_numbers_that_the_input_cannot_hold_are_refused(tmp_path, capsys):
    with np.load(DIGITS / "golden.npz") as golden:
        [x] = [golden[name].astype(np.float64) for name in golden.files if name.startswith("in/")]
    x[1].flat[0] = 1e300
    np.savez(tmp_path / "x.npz", x=x)
    code, found = ran(capsys, DIGITS, "--inputs", tmp_path / "x.npz")
    assert code == 2 and "has 1e+300 in sample 1; float32 holds at most 3.40" in found["reason"]


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_pickled_objects_are_refused_as_by_convert(tmp_path, capsys, name):
    (np.savez if name == "x.npz" else np.save)(tmp_path / name, np.array([{}, 1], object))
    code, found = ran(capsys, DIGITS, "--inputs", tmp_path / name)
    assert (code, found["error"]["code"]) == (8, "unsafe-input") and "pickled objects" in found["reason"]


def test_weights_that_were_cut_off_are_named(tmp_path, capsys):
    file = table(tmp_path)
    (tmp_path / "rows.bin").write_bytes(bytes(8))
    code, found = ran(capsys, file)
    assert (code, found["reason"]) == (
        2,
        "m.onnx takes the weight 'rows' from bytes 0 to 32 of 'rows.bin', which has 8",
    )
    (tmp_path / "rows.bin").unlink()
    assert ran(capsys, file)[1]["reason"] == "m.onnx takes weights from 'rows.bin', which is not there"


def test_outputs_that_cannot_be_written_are_said_before_any_work(tmp_path, capsys):
    code, found = ran(capsys, DIGITS, "-o", tmp_path / "no" / "y.npz")
    assert code == 2 and "there is no folder" in found["reason"]
    code, found = ran(capsys, tmp_path / "none.tflite")
    assert code == 2 and "no such file" in found["reason"]


def looked_into(capsys, path):
    assert cli.run(["inspect", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_scales_of_an_onnx_file_are_those_of_its_own_initializers(capsys):
    import onnx
    from onnx import numpy_helper

    file = OLD / "onnxruntime-int8" / "model.onnx"
    found = looked_into(capsys, file)
    assert found["size_bytes"] == file.stat().st_size
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(file).graph.initializer}
    weights = {one["name"]: one for one in found["scales"] if one["constant"]}
    of_file = {n.input[0]: n.input for n in onnx.load(file).graph.node if n.op_type == "DequantizeLinear"}
    assert weights and weights.keys() <= of_file.keys()
    for name, one in weights.items():
        np.testing.assert_array_equal(np.float32(one["scales"]), stored[of_file[name][1]].reshape(-1))
        assert one["type"] == stored[name].dtype.name
    assert {one["type"] for one in weights.values()} == {"int8", "int32"}
    assert any(len(one["scales"]) > 1 for one in weights.values())
    assert found["delegated"] is None


def test_of_a_tflite_file_the_operators_that_xnnpack_takes_are_told(capsys):
    file = OLD / "tflite-fp16" / "model.tflite"
    found = looked_into(capsys, file)
    assert found["size_bytes"] == file.stat().st_size
    _, ran_it = ran(capsys, file)
    assert sum(taken for taken, _ in found["delegated"].values()) == ran_it["ops_delegated"] > 0
    assert sum(of for _, of in found["delegated"].values()) == found["ops_total"]
    assert cli.run(["inspect", str(file)]) == 0
    assert f"delegated\t{ran_it['ops_delegated']} of {found['ops_total']} operators" in capsys.readouterr().out
