"""Linear layers called twice, or whose weight others read: ONNX Runtime's quantizer turns it around once for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from edgekit.toolchains.onnx.passes.preparing import turn_shared

RNG = np.random.default_rng(0)
WEIGHT, BIAS = RNG.normal(size=(16, 16)).astype(np.float32), RNG.normal(size=16).astype(np.float32)


def called_twice() -> onnx.ModelProto:
    return made(
        helper.make_node("Gemm", ["x", "w", "b"], ["first"], "one", transB=1),
        helper.make_node("Sigmoid", ["first"], ["between"], "sigmoid"),
        helper.make_node("Gemm", ["between", "w", "b"], ["y"], "two", transB=1),
    )


def tied() -> onnx.ModelProto:
    """A table of embeddings that is the head as well."""
    return made(
        helper.make_node("ArgMax", ["x"], ["tokens"], "tokens", axis=1, keepdims=0),
        helper.make_node("Gather", ["w", "tokens"], ["looked_up"], "table"),
        helper.make_node("Gemm", ["looked_up", "w", "b"], ["y"], "head", transB=1),
    )


def made(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16])

    weights = [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(BIAS, "b")]
    graph = helper.make_graph(list(nodes), "g", [value("x")], [value("y")], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize("model", [called_twice, tied])
def test_a_weight_that_others_read_is_turned_once(model: Any, tmp_path: Path) -> None:
    x = RNG.normal(size=(1, 16)).astype(np.float32)
    expected, error = run(model(), x), {}
    for way in ("as it comes", "mended"):
        plain = onnx.shape_inference.infer_shapes(model())
        assert way == "as it comes" or turn_shared(plain)
        assert np.allclose(run(plain, x), expected, atol=1e-5)
        onnx.save(plain, tmp_path / "plain.onnx")
        quantize_dynamic(
            tmp_path / "plain.onnx", tmp_path / "int8.onnx", op_types_to_quantize=["Gemm", "MatMul", "Gather"]
        )
        found = run(onnx.load(tmp_path / "int8.onnx"), x)
        error[way] = float(np.abs(found - expected).max() / np.abs(expected).max())
    assert error["mended"] < 0.05
    assert error["as it comes"] > 0.3, "the quantizer no longer does this: drop the pass"


def test_a_weight_of_one_reader_stays_as_it_is() -> None:
    alone = made(helper.make_node("Gemm", ["x", "w", "b"], ["y"], "one", transB=1))
    assert not turn_shared(alone)
