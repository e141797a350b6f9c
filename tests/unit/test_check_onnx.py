"""ONNX models as they are handed in: what is told of functions, loops and weights before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import DamagedFileError, EdgekitError, EndlessError, UnsupportedError
from edgekit.frameworks.onnx import runs
from edgekit.sources import onnx_model
from edgekit.toolchains.onnx import graph

OPSETS = (helper.make_opsetid("", 17), helper.make_opsetid("own", 1))
X, Y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")


def _model(
    node: onnx.NodeProto, functions: Sequence[onnx.FunctionProto] = (), weights: Sequence = ()
) -> onnx.ModelProto:
    made = helper.make_graph([node], "g", [X], [Y], weights)
    return helper.make_model(made, opset_imports=OPSETS, functions=functions, ir_version=8)


def _doubling(count: int, inner: Sequence[onnx.NodeProto] = ()) -> onnx.ModelProto:
    """Functions of which each calls the one before twice."""
    functions = []
    for number in range(count):
        called = {"op_type": f"f{number - 1}", "domain": "own"} if number else {"op_type": "Relu"}
        nodes = [helper.make_node(**called, inputs=[a], outputs=[b]) for a, b in ("ab", "bc")]
        nodes += [] if number else inner
        functions.append(helper.make_function("own", f"f{number}", ["a"], ["c"], nodes, OPSETS))
    return _model(helper.make_node(f"f{count - 1}", ["x"], ["y"], domain="own"), functions)


def _checked(model: onnx.ModelProto, folder: Path, files: Mapping[str, Path] | None = None) -> Path:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return onnx_model.check(folder / "m.onnx", "m.onnx", folder, files or {}, trust=False)


@pytest.mark.parametrize(("count", "said"), [(24, "16777216 operators once"), (200, "000 operators or more once")])
def test_functions_are_counted_before_they_are_written_out(tmp_path: Path, count: int, said: str) -> None:
    for read in (lambda: _checked(_doubling(count), tmp_path), lambda: graph.load(tmp_path / "m.onnx")):
        with pytest.raises(UnsupportedError, match="at most 250000 are allowed") as error:
            read()
        assert said in str(error.value) and error.value.hint


def test_functions_that_hold_large_constants_are_weighed(tmp_path: Path) -> None:
    large = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.zeros(1 << 18, np.float32)))
    with pytest.raises(UnsupportedError, match="more than 2 GiB"):
        _checked(_doubling(12, [large]), tmp_path)


def test_functions_that_a_model_may_have_are_written_out(tmp_path: Path) -> None:
    copy = onnx.load(_checked(_doubling(8), tmp_path))
    assert ([node.op_type for node in copy.graph.node], len(copy.functions)) == (["Relu"] * 256, 0)


def test_functions_that_call_each_other_are_named(tmp_path: Path) -> None:
    functions = [
        helper.make_function("own", a, ["a"], ["c"], [helper.make_node(b, ["a"], ["c"], domain="own")], OPSETS)
        for a, b in ("fg", "gf")
    ]
    with pytest.raises(DamagedFileError, match=r"call each other without end: (f -> g -> f|g -> f -> g)"):
        _checked(_model(helper.make_node("f", ["x"], ["y"], domain="own"), functions), tmp_path)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"location": "w.bin", "offset": "1000000"}, "from byte 1000000 on of 'w.bin', which has 64"),
        ({"location": "w.bin", "offset": "1000000", "length": "64"}, "from bytes 1000000 to 1000064 of 'w.bin'"),
        ({"location": "w.bin", "offset": "here"}, "'w.bin' at a place that is no number: offset 'here'"),
        ({"location": ""}, "another file, and does not say which"),
        ({}, "another file, and does not say which"),
    ],
)
def test_a_place_that_no_file_has_is_named(tmp_path: Path, said: Mapping[str, str], match: str) -> None:
    tensor = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    (tmp_path / "w.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)
    model = _model(helper.make_node("MatMul", ["x", "w"], ["y"]), weights=[tensor])

    def handed_in() -> None:
        files = {name: tmp_path / name for name in onnx_model.beside(model, "m.onnx")}
        _checked(model, tmp_path, files)

    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for read in (handed_in, lambda: graph.load(tmp_path / "m.onnx")):
        with pytest.raises(EdgekitError, match=match) as error:
            read()
        assert isinstance(error.value, DamagedFileError) and error.value.hint


def test_a_loop_that_does_not_end_is_named() -> None:
    state = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("v", "w")]
    inner = [helper.make_tensor_value_info("i", TensorProto.INT64, []), *_conditions("c"), state[0]]
    nodes = [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "v"], ["w"])]
    body = helper.make_graph(nodes, "body", inner, [*_conditions("d"), state[1]])
    node = helper.make_node("Loop", ["n", "true", "x"], ["y"], "for_ever", body=body)
    run = runs.Unoptimized(_model(node, weights=_stored(n=np.array(2**62), true=np.array(True))), "m.onnx")
    with pytest.raises(EndlessError, match=r"m\.onnx did not run one sample within 1 s, and has the Loop 'for_ever'"):
        run.within([np.ones((1, 4), np.float32)], 1.0)
    short = runs.Unoptimized(_model(node, weights=_stored(n=np.array(3), true=np.array(True))), "m.onnx")
    [found] = short.within([np.ones((1, 4), np.float32)], 60.0)
    np.testing.assert_array_equal(found, np.full((1, 4), 8.0))


def _conditions(name: str) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, TensorProto.BOOL, [])]


def _stored(**arrays: np.ndarray) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(array, name) for name, array in arrays.items()]
