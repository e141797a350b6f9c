"""What OpenVINO does wrong with weights that it widens at run time, and the passes that keep it from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

import openvino as ov
from openvino import opset13 as opset

from edgekit.toolchains.openvino.passes.constants import compute_constants
from edgekit.toolchains.openvino.passes.strides import take_before

CORE = ov.Core()


def learned_queries() -> ov.Model:
    """Queries are stored, projected, and meet the input in a sum."""
    rng = np.random.default_rng(0)

    def weight() -> Any:
        return opset.constant(rng.normal(size=(48, 48)).astype(np.float32) / 7)

    x = opset.parameter([1, 10, 48], ov.Type.f32, name="x")
    x.output(0).set_names({"x"})
    queries = opset.constant(rng.normal(size=(1, 10, 48)).astype(np.float32))
    bias = opset.constant(rng.normal(size=(48,)).astype(np.float32))

    def heads(values: Any) -> Any:
        apart = opset.reshape(opset.add(opset.matmul(values, weight(), False, False), bias), [1, 10, 4, 12], False)
        return opset.transpose(apart, opset.constant([0, 2, 1, 3]))

    scores = opset.matmul(opset.multiply(heads(queries), opset.constant(np.float32(0.3))), heads(x), False, True)
    found = opset.transpose(
        opset.matmul(opset.softmax(scores, 3), heads(x), False, False), opset.constant([0, 2, 1, 3])
    )
    return ov.Model([opset.add(queries, opset.reshape(found, [1, 10, 48], False))], [x], "queries")


def shortcut() -> ov.Model:
    """A residual block as Keras on PyTorch writes it: channels last between the layers."""
    rng = np.random.default_rng(0)

    def conv(image: Any, outputs: int, kernel: int, stride: int) -> Any:
        inputs = image.get_output_shape(0)[3]
        weights = opset.constant(rng.normal(size=(outputs, inputs, kernel, kernel)).astype(np.float32) / 9)
        first = opset.transpose(image, opset.constant([0, 3, 1, 2]))
        found = opset.convolution(first, weights, [stride, stride], [0, 0], [0, 0], [1, 1])
        last = opset.transpose(found, opset.constant([0, 2, 3, 1]))
        scale = opset.constant(rng.uniform(0.5, 2, (1, 1, 1, outputs)).astype(np.float32))
        return opset.add(opset.multiply(last, scale), scale)

    def padded(image: Any) -> Any:
        around = opset.constant([0, 1, 1, 0])
        return opset.pad(image, around, around, "constant", opset.constant(np.float32(0)))

    x = opset.parameter([1, 16, 16, 8], ov.Type.f32, name="x")
    x.output(0).set_names({"x"})
    start = opset.relu(conv(padded(x), 16, 3, 1))
    long = conv(padded(opset.relu(conv(padded(start), 24, 3, 2))), 24, 3, 1)
    return ov.Model([opset.relu(opset.add(long, conv(start, 24, 1, 2)))], [x], "block")


def answers(model: Any, inputs: list[Any]) -> list[Any]:
    request = CORE.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    return [next(iter(request.infer([x]).values())).copy() for x in inputs]


def test_stored_products_are_the_same_in_every_run(tmp_path: Path) -> None:
    inputs = list(np.random.default_rng(1).normal(size=(3, 1, 10, 48)).astype(np.float32))
    expected, error = answers(learned_queries(), inputs), {}
    for mended in (False, True):
        model = learned_queries()
        if mended:
            compute_constants(model)
        ov.save_model(model, tmp_path / "half.xml", compress_to_fp16=True)
        found = answers(CORE.read_model(tmp_path / "half.xml"), inputs)
        error[mended] = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, expected, strict=True)]
    assert max(error[True]) < 5e-3
    assert error[False][0] < 5e-3 < min(error[False][1:]), "OpenVINO no longer does this: drop the pass"


def test_a_strided_shortcut_opens_with_weights_in_int8() -> None:
    import nncf

    inputs = list(np.random.default_rng(1).normal(size=(2, 1, 16, 16, 8)).astype(np.float32))
    model, expected = shortcut(), answers(shortcut(), inputs)
    with pytest.raises(RuntimeError, match="broadcast"):  # if not: drop the pass
        answers(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM), inputs)
    model = shortcut()
    take_before(model)
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(answers(model, inputs), expected, strict=True))
    found = answers(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM), inputs)
    assert all(np.abs(a - b).max() < 0.05 * np.abs(b).max() for a, b in zip(found, expected, strict=True))
