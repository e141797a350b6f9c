"""Rules per layer and ranges by hand: every quantizing route of every toolchain honours them or says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgekit import toolchains
from edgekit.jobs.workers import Workers
from tests.contract.conftest import outcomes_of, parameters

STARTS = ("torch", "keras-tensorflow", "keras-torch")
#: Multiply-accumulates of the convolution that is kept.
SECOND = 12 * 8 * 9 * 64
CONVERTER = "TFLiteConverter quantizes all of a model alike"
AT_RUN_TIME = "activations get their ranges when the file runs"
IN_FLOAT = "activations stay in float"
#: Why routes take no rules, or no ranges; a part of what they say. A new route honours both, or is listed here.
NO_RULES = {
    "dynamic-w8a8-converter": CONVERTER,
    "ptq-w8a8-converter": CONVERTER,
    "ptq-w8a16-converter": CONVERTER,
    # Those that take recurrent layers apart have nothing to do here; ``UNROLLED`` looks at what they declare.
    "ptq-w8a8-quantizer-unrolled": "no recurrent Keras layer",
    "ptq-w8a16-quantizer-unrolled": "no recurrent Keras layer",
    "ptq-w8a8-qdq-dynamic-cells": "the file has no LSTM",
    "ptq-w8a8-qdq-unrolled": "no recurrent cell",
}
NO_RANGES = NO_RULES | {
    "dynamic-w8a8-quantizer-nodepthwise": AT_RUN_TIME,
    "dynamic-w8a8-quantizer-mixed": AT_RUN_TIME,
    "dynamic-w8a8-quantizer": AT_RUN_TIME,
    "dynamic-w4a8-quantizer": AT_RUN_TIME,
    "dynamic-w4a8-quantizer-matmuls": AT_RUN_TIME,
    "dynamic-w8a8-ort": AT_RUN_TIME,
    "dynamic-w8a8-ort-noconv-per-tensor": AT_RUN_TIME,
    "dynamic-w8a8-ort-noconv": AT_RUN_TIME,
    "dynamic-w8a8-pt2e": AT_RUN_TIME,
    "weights-w8-nncf": IN_FLOAT,
    "weights-w8-nncf-symmetric": IN_FLOAT,
    "weights-w4-openvino": IN_FLOAT,
    "weights-w4-openvino-matmuls": IN_FLOAT,
    "weights-w4-ort": IN_FLOAT,
    "weights-w4-ort-matmuls": IN_FLOAT,
    "weights-w8-coremltools": IN_FLOAT,
    "dynamic-w4a8-pt2e": AT_RUN_TIME,
    "weights-w4-coremltools": IN_FLOAT,
    "weights-lut4-coremltools": IN_FLOAT,
    "weights-w4-onnx": IN_FLOAT,
}
UNROLLED = frozenset(route for route, why in NO_RULES.items() if why != CONVERTER)
#: Routes whose graph has no names of the source: a pattern is held against what the file calls its layers.
UNNAMED = frozenset(("ptq-w8a8-nncf-unrolled",))
#: Scale and signed zero point of -6.5 to 3 with 8 bits: 9.5 / 255, round(-128 + 6.5 / scale); symmetric: 6.5 / 127 and
#: 6.5 / 32767.
AFFINE, SYMMETRIC, SYMMETRIC_16 = (9.5 / 255, 46), (6.5 / 127, 0), (6.5 / 32767, 0)
#: Decibels: a file of which the input is clipped to -6.5 to 3 or less.
LEAST = 30
#: The same where two layers have weights of 4 bits, on random numbers.
LEAST_4 = 13


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Callable[[str, str], dict[str, Any]]:
    """By route what ``ruled_models.py`` found."""
    return outcomes_of("ruled_models.py", tmp_path_factory, workers)


#: Take as long as all others; the rules of PT2E are tried in every run on LiteRT's routes.
LATE = ("coreml", "executorch")


def cases() -> list[tuple[str, str]]:
    """What starts in PyTorch for all, since it hands a file to the routes that quantize one; LiteRT from Keras too."""
    return [*((name, "torch") for name in toolchains.names()), ("litert", "keras-tensorflow")]


@pytest.mark.parametrize(("toolchain", "environment"), parameters(cases(), lambda case: case[0] in LATE))
def test_one_layer_stays_in_float_and_one_range_is_given(ruled: Any, toolchain: str, environment: str) -> None:
    rows = ruled(toolchain, environment)
    assert rows
    for route, row in rows.items():
        for asked in row.values():
            assert "raised" not in asked, (route, asked)
        for asked, without in (("layers", NO_RULES), ("both", NO_RANGES)):
            assert ("refused" in row[asked]) == (route in without), (route, row[asked])
            if route in without:
                assert row[asked]["refused"].startswith(("UnsupportedError", "OtherRouteError"))
                assert without[route] in row[asked]["refused"]
                continue
            ((names, kind, macs),) = row[asked]["kept"]
            assert route in UNNAMED or names[0] == "second"
            assert (kind, macs) == ("conv", SECOND)
            floats = {macs for _, macs, float_weights, integer in row[asked]["layers"] if float_weights and not integer}
            assert floats == {SECOND}, (route, asked, row[asked]["layers"])
            assert len(row[asked]["layers"]) == 3
            least = LEAST_4 if route.split("-")[1].startswith(("w4", "lut4")) else LEAST
            assert row[asked]["sqnr_db"] is None or row[asked]["sqnr_db"] >= least, (route, asked)
        if route not in NO_RANGES:
            wide = SYMMETRIC_16 if "w8a16" in route else SYMMETRIC if toolchain == "tensorrt" else AFFINE
            close = [point for scale, point in row["both"]["steps"] if scale == pytest.approx(wide[0], rel=1e-5)]
            assert close and set(close) == {wide[1]}, (route, row["both"]["steps"])
            assert not any(scale == pytest.approx(wide[0], rel=1e-5) for scale, _ in row["layers"]["steps"])


@pytest.mark.parametrize(("toolchain", "environment"), parameters(cases(), lambda case: case[0] in LATE))
def test_what_cannot_be_is_refused_with_what_there_is(ruled: Any, toolchain: str, environment: str) -> None:
    for route, row in ruled(toolchain, environment).items():
        if route in NO_RULES:
            assert all("refused" in asked for asked in row.values()), route
            continue
        refused = {what: row[what]["refused"] for what in ("nowhere", "nothing left", "no scheme", "no tensor")}
        assert refused["nowhere"].startswith("UsageError: no layer is 'sekond'; there is "), refused
        assert route in UNNAMED or "second" in refused["nowhere"]
        assert refused["nothing left"].startswith("UsageError: all 3 layers are to be kept in float"), refused
        assert refused["no scheme"].startswith("UnsupportedError: this route cannot give fp16 to a single layer, conv")
        if route not in NO_RANGES:
            assert refused["no tensor"].startswith("UsageError: there is no tensor 'imagine'"), refused
            assert "image" in refused["no tensor"].partition("; there is ")[2]


@pytest.mark.parametrize("toolchain", parameters(toolchains.names(), LATE.__contains__))
def test_every_quantizing_route_was_tried_and_says_what_it_honours(ruled: Any, toolchain: str) -> None:
    routes = toolchains.routes(toolchain)
    tried = {route for name, environment in cases() if name == toolchain for route in ruled(name, environment)}
    quantizing = {route for route in routes if route.split("-")[0] in ("ptq", "dynamic", "weights")}
    assert tried == quantizing
    for name, route in routes.items():
        if name not in quantizing:
            assert not route.honours
        elif name in UNROLLED:
            assert route.honours == toolchains.STEERED
        else:
            unable = (("layers", NO_RULES), ("ranges", NO_RANGES), ("estimator", NO_RANGES))
            honoured = {what for what, no in unable if name not in no}
            assert route.honours == honoured, name
            assert bool(route.because) == (route.honours != toolchains.STEERED), name
