"""Stacks of matrices in integer ONNX files: their first run ended in ONNX Runtime's own error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from edgekit.toolchains.onnx.passes.stacks import one_scale

#: Shapes of the input and of the stored factor.
CASES = {
    "stack": ((2, 6, 16), (2, 16, 12)),
    "stack of one": ((1, 6, 16), (1, 16, 12)),
    "stack of one, its input a matrix": ((6, 16), (1, 16, 12)),
}


def model(given: tuple[int, ...], stored: tuple[int, ...]) -> tuple[onnx.ModelProto, Any]:
    """A product in int8 with a scale for each element of the stored factor's last axis; the factor as floats."""
    rng = np.random.default_rng(0)
    integers = rng.integers(-127, 128, stored).astype(np.int8)
    scales = rng.uniform(0.005, 0.02, stored[-1]).astype(np.float32)
    arrays = {
        "w": integers, "w_scale": scales, "w_zero": np.zeros(stored[-1], np.int8),
        "x_scale": np.float32(0.03), "x_zero": np.uint8(128), "y_scale": np.float32(0.1), "y_zero": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_f"], axis=len(stored) - 1),
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_f"]),
        helper.make_node("MatMul", ["x_f", "w_f"], ["y_f"]),
        helper.make_node("QuantizeLinear", ["y_f", "y_scale", "y_zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["y"]),
    ]
    made = np.matmul(np.zeros(given), np.zeros(stored))
    graph = helper.make_graph(
        nodes, "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, made.shape)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), integers * scales


@pytest.mark.parametrize("case", CASES)
def test_a_stored_stack_runs_in_integers(case: str) -> None:
    given, stored = CASES[case]
    made, weights = model(given, stored)
    x = np.random.default_rng(1).uniform(-3, 3, given).astype(np.float32)
    with pytest.raises(Exception, match="must be a scalar"):
        run(made, x)
    made = onnx.shape_inference.infer_shapes(made, data_prop=True)
    one_scale(made.graph)
    del made.graph.value_info[:]
    onnx.checker.check_model(made, full_check=True)
    found, wanted = run(made, x), np.matmul(x, weights)
    wanted = np.clip(wanted, -12.8, 12.7)
    assert 10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum()) > 25


def test_a_matrix_keeps_a_scale_per_column() -> None:
    made, _ = model((2, 6, 16), (16, 12))
    before = made.SerializeToString(deterministic=True)
    one_scale(made.graph)
    assert made.SerializeToString(deterministic=True) == before


def run(made: onnx.ModelProto, x: Any) -> Any:
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]
