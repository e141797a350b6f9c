"""`edgekit benchmark` on files of anybody's: what they take, what is given, and where the rows go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import api
from edgekit.bench import measuring
from edgekit.bench.measuring import Asked
from edgekit.bench.row import Row
from edgekit.cli.main import run
from edgekit.errors import DamagedFileError, EdgekitError, UnsupportedError, UsageError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SHORT = {"seconds": 0.05, "yardstick": False, "profile": False}


def saved(file: Path, operator: str, dtype: int, shape: list[int | str], table: Any = None) -> Path:
    """A file of one operator, of an input and perhaps a constant before or behind it."""
    value = onnx.helper.make_tensor_value_info
    names = {"MatMul": ["x", "table"], "Gather": ["table", "x"]}.get(operator, ["x"])
    constants = [] if table is None else [onnx.numpy_helper.from_array(table, "table")]
    node = onnx.helper.make_node(operator, names, ["y"], **({"to": 1} if operator == "Cast" else {}))
    made = [f"y{axis}" for axis in range(2 if operator in ("MatMul", "Gather") else len(shape))]
    graph = onnx.helper.make_graph([node], "one", [value("x", dtype, shape)], [value("y", 1, made)], constants)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), file)
    return file


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    return saved(tmp_path / "relu.onnx", "Relu", onnx.TensorProto.FLOAT, [1, 4])


def test_memory_has_nothing_in_it_of_how_the_precision_is_found(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    file = saved(tmp_path / "large.onnx", "MatMul", onnx.TensorProto.FLOAT, [1, 4096], table)
    [row] = measuring.measure([file], Asked(**SHORT))
    assert row.measured is not None and row.measured.model_rss_bytes is not None
    # ONNX Runtime holds the file and its weights for a moment; writing the optimized graph down took as much again.
    assert row.measured.model_rss_bytes < 2.5 * file.stat().st_size


def test_an_open_shape_takes_what_is_said_and_what_is_given(tmp_path: Path) -> None:
    file = saved(tmp_path / "open.onnx", "MatMul", onnx.TensorProto.FLOAT, ["n", 4], np.ones((4, 4), np.float32))
    [row] = measuring.measure([file], Asked(**SHORT, shapes=("x=8x4:float32",)))
    assert row.measured is not None and row.measured.inputs == "generated"
    np.savez(tmp_path / "x.npz", x=np.ones((3, 8, 4), np.float32))
    [row] = measuring.measure([file], Asked(**SHORT, inputs=tmp_path / "x.npz"))
    assert row.measured is not None and row.measured.inputs == "given"
    with pytest.raises(UsageError, match=r"has shape \(8, 5\)"):
        measuring.measure([file], Asked(**SHORT, shapes=("x=8x5:float32",)))


def test_an_open_shape_in_openvino(tmp_path: Path) -> None:
    ov = pytest.importorskip("openvino")
    file = saved(tmp_path / "open.onnx", "MatMul", onnx.TensorProto.FLOAT, ["n", 4], np.ones((4, 4), np.float32))
    ov.save_model(ov.convert_model(file), tmp_path / "ir.xml", compress_to_fp16=False)
    asked = Asked(**{**SHORT, "profile": True}, shapes=("x=8x4:float32",))
    [row] = measuring.measure([tmp_path / "ir.xml"], asked)
    assert row.measured is not None and row.measured.operators


def test_weights_lie_under_any_name_and_are_counted(tmp_path: Path) -> None:
    table = np.ones((64, 64), np.float32)
    model = onnx.load(saved(tmp_path / "one.onnx", "MatMul", onnx.TensorProto.FLOAT, [1, 64], table))
    file = tmp_path / "two" / "model.onnx"
    file.parent.mkdir()
    onnx.save(model, file, save_as_external_data=True, location="shards.onnx_data", size_threshold=0)
    [row] = measuring.measure([file], Asked(**SHORT))
    assert row.measured is not None
    assert row.made.size_bytes == file.stat().st_size + table.nbytes
    before = row.made.sha256
    data = file.with_name("shards.onnx_data")
    data.write_bytes(bytes(data.stat().st_size))
    [row] = measuring.measure([file], Asked(**SHORT))
    assert row.made.sha256 != before


def test_a_file_of_the_future_is_not_called_damaged(relu: Path) -> None:
    model = onnx.load(relu)
    model.opset_import[0].version = 99
    onnx.save(model, relu)
    with pytest.raises(UnsupportedError, match="opset 99"):
        measuring.measure([relu], Asked(**SHORT))


def test_precision_is_that_of_the_weights(tmp_path: Path) -> None:
    table = np.ones((4, 4), np.float64)
    file = saved(tmp_path / "double.onnx", "MatMul", onnx.TensorProto.DOUBLE, [1, 4], table)
    model = onnx.load(file)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    onnx.save(model, file)
    [row] = measuring.measure([file], Asked(**SHORT))
    assert row.measured is not None and row.measured.precision == "f64"


def test_a_file_that_never_ends_is_ended(tmp_path: Path) -> None:
    """A loop that counts to the largest number."""
    helper, kinds = onnx.helper, onnx.TensorProto
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Relu", ["v"], ["v_"])],
        "body",
        [
            helper.make_tensor_value_info("i", kinds.INT64, []),
            helper.make_tensor_value_info("on", kinds.BOOL, []),
            helper.make_tensor_value_info("v", kinds.FLOAT, [4]),
        ],
        [
            helper.make_tensor_value_info("on_", kinds.BOOL, []),
            helper.make_tensor_value_info("v_", kinds.FLOAT, [4]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["most", "true", "x"], ["y"], body=body)],
        "long",
        [helper.make_tensor_value_info("x", kinds.FLOAT, [4])],
        [helper.make_tensor_value_info("y", kinds.FLOAT, [4])],
        [
            helper.make_tensor("most", kinds.INT64, [], [2**62]),
            helper.make_tensor("true", kinds.BOOL, [], [True]),
        ],
    )
    file = tmp_path / "endless.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    with pytest.raises(DamagedFileError, match="did not finish within 4 s"):
        measuring.measure([file], Asked(**SHORT, timeout_s=4.0))
    with pytest.raises(EdgekitError, match="4 s"):
        api.run_file(file, timeout=4.0)


def test_types_of_inputs(tmp_path: Path) -> None:
    [row] = measuring.measure([saved(tmp_path / "i.onnx", "Cast", onnx.TensorProto.UINT16, [1, 4])], Asked(**SHORT))
    assert row.measured is not None
    [row] = measuring.measure([saved(tmp_path / "b.onnx", "Cast", onnx.TensorProto.BFLOAT16, [4])], Asked(**SHORT))
    assert (row.status, row.measured) == ("UNSUPPORTED", None) and "tensor(bfloat16)" in row.reason


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((0, 1, 4), np.float32), "no sample of 'x'"),
        (np.float32(1), "no sample of 'x'"),
        (np.ones((2, 5), np.float32), "has the shape"),
    ],
)
def test_samples_that_are_none_are_not_called_a_damaged_model(
    relu: Path, tmp_path: Path, given: Any, said: str
) -> None:
    np.savez(tmp_path / "x.npz", x=given)
    with pytest.raises(UsageError, match=said) as raised:
        measuring.measure([relu], Asked(**SHORT, inputs=tmp_path / "x.npz"))
    assert raised.value.code == "usage"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "nan"], "no duration"),
        (["--seconds", "inf"], "no duration"),
        (["--rows", "."], "is no file of rows"),
        (["--rows", "/dev/full"], "is no file of rows"),
        (["--rows", "/proc/rows.jsonl"], "no rows can be added"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(
    relu: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(measuring, "find", lambda *given: pytest.fail("it went on"))
    assert run(["benchmark", str(relu), *arguments, "--json"]) == 2
    assert said in json.loads(capsys.readouterr().out)["reason"]


def test_what_is_wrong_with_one_of_several_stands_in_its_row(relu: Path, tmp_path: Path) -> None:
    """Indices that are drawn from two, and a table of one."""
    file = saved(tmp_path / "table.onnx", "Gather", onnx.TensorProto.INT64, [64], np.ones((1, 3), np.float32))
    kept: list[Row] = []
    broken, sound = measuring.measure([file, relu], Asked(**SHORT), keep=kept.append)
    assert sound.measured is not None
    assert (broken.status, broken.measured) == ("FAILED", None) and "out of data bounds" in broken.reason
    assert kept == [broken, sound]


def test_what_was_measured_before_an_interruption_is_kept(relu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, number = measuring._ask, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal number
        number += 1
        if number > 1:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(measuring, "_ask", interrupted)
    kept: list[Row] = []
    with pytest.raises(KeyboardInterrupt):
        measuring.measure([relu, relu], Asked(**SHORT), keep=kept.append)
    assert len(kept) == 1 and kept[0].measured is not None


def test_a_file_of_rows_that_cannot_be_written_is_an_error_of_ours(relu: Path, tmp_path: Path) -> None:
    """A full disk, for one: found when rows are added, long after the check."""
    from edgekit.bench import rows

    folder = tmp_path / "rows.jsonl"
    folder.mkdir()
    with pytest.raises(UsageError, match="no rows can be added"):
        rows.append(folder, [])
