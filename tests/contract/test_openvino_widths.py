"""Convolutions that fill tiles of AMX exactly: one column of zeros more, and the same function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

import openvino as ov
from openvino import opset13 as opset

from edgekit.toolchains.openvino import nncf
from edgekit.toolchains.openvino.passes.widths import widen

#: Weights (of groups, if there are, then outputs, inputs, kernel), stride, dilation and paddings of what is widened.
WIDE = {
    "positions of speech": ((4, 12, 12, 16), (1,), (1,), (8,), (8,)),
    "a stride and a dilation": ((4, 8, 8, 32), (2,), (3,), (0,), (5,)),
    "two axes": ((2, 8, 16, 3, 16), (1, 2), (1, 1), (1, 8), (1, 7)),
    "no groups": ((24, 16, 8), (8,), (1,), (0,), (0,)),
    "no groups, two axes": ((8, 24, 3, 8), (1, 1), (1, 1), (1, 4), (1, 3)),
}
#: And of what is left as it is.
NARROW = {
    "another width": ((4, 12, 12, 15), (1,), (1,), (7,), (7,)),
    "one row of a tile": ((24, 16, 4), (1,), (1,), (2,), (2,)),
    "more channels": ((24, 32, 8), (1,), (1,), (2,), (2,)),
    "depthwise": ((48, 1, 1, 16), (1,), (1,), (8,), (8,)),
}


def convolution(weights: tuple[int, ...], *settings: tuple[int, ...]) -> tuple[ov.Model, list[Any]]:
    """A model of one grouped convolution between two pointwise ones, and inputs for it."""
    rng = np.random.default_rng(0)
    kernel = weights[-len(settings[0]) :]
    groups, made, each = (1, *weights)[-len(kernel) - 3 : -len(kernel)]
    given, one = groups * each, (1,) * len(kernel)
    size = (1, given, *([128] if len(kernel) == 1 else [20, 40]))

    def pointwise(x: Any, outputs: int, inputs: int) -> Any:
        filters = (rng.standard_normal((outputs, inputs, *one)) / inputs**0.5).astype(np.float32)
        zeros = (0,) * len(kernel)
        return opset.convolution(x, opset.constant(filters), one, zeros, zeros, one)

    filters = (rng.standard_normal(weights) / np.prod(kernel) ** 0.5 / each**0.5).astype(np.float32)
    stride, dilation, before, behind = (list(numbers) for numbers in settings)
    x = opset.parameter(size, np.float32, name="x")
    make = opset.group_convolution if groups > 1 else opset.convolution
    middle = make(pointwise(x, given, given), opset.constant(filters), stride, before, behind, dilation)
    middle.set_friendly_name("middle")
    model = ov.Model([opset.result(pointwise(middle, 16, groups * made))], [x])
    return model, [rng.standard_normal(size).astype(np.float32) for _ in range(16)]


def middle(model: ov.Model) -> Any:
    return next(node for node in model.get_ordered_ops() if node.get_friendly_name() == "middle")


def run(model: ov.Model, inputs: list[Any]) -> Any:
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    return np.stack([compiled(x)[0] for x in inputs])


@pytest.mark.parametrize("case", WIDE)
def test_what_fills_tiles_exactly_is_right_in_integers(case: str) -> None:
    model, inputs = convolution(*WIDE[case])
    before, shape = run(model, inputs), list(middle(model).get_output_shape(0))
    widen(model)
    assert middle(model).input_value(1).get_shape()[-1] == WIDE[case][0][-1] + 1
    assert list(middle(model).get_output_shape(0)) == shape
    assert np.abs(run(model, inputs) - before).max() < 1e-4
    found = run(nncf.quantize(model, {"x": np.concatenate(inputs)[:, None]}), inputs)
    assert 10 * np.log10(np.square(before).sum() / np.square(found - before).sum()) > 28


@pytest.mark.parametrize("rule", ["same_upper", "same_lower", "valid"])
def test_paddings_that_come_from_a_rule_are_kept(rule: str) -> None:
    """Keras and TensorFlow write rules."""
    rng = np.random.default_rng(0)
    filters = opset.constant(rng.standard_normal((24, 16, 8)).astype(np.float32))
    x = opset.parameter((1, 16, 41), np.float32, name="x")
    model = ov.Model([opset.result(opset.convolution(x, filters, [2], [0], [0], [1], auto_pad=rule))], [x])
    inputs = [rng.standard_normal((1, 16, 41)).astype(np.float32)]
    before = run(model, inputs)
    widen(model)
    (wide,) = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    assert wide.input_value(1).get_shape()[-1] == 9
    assert np.abs(run(model, inputs) - before).max() < 1e-4


@pytest.mark.parametrize("case", NARROW)
def test_others_stay_as_they_are(case: str) -> None:
    model, _ = convolution(*NARROW[case])
    widen(model)
    assert middle(model).input_value(1).get_shape()[-1] == NARROW[case][0][-1]
