"""What is kept of vendors' exceptions, each text as the vendor wrote it."""

from __future__ import annotations

import pytest

from edgekit.toolchains._shared import messages


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (  # OpenVINO 2026.4
            "Exception from src/inference/src/cpp/core.cpp:117:\nException from src/inference/src/dev/plugin.cpp:54:\n"
            "Exception from src/inference/include/openvino/runtime/properties.hpp:1379:\n"
            "Could not read number of streams from str: bad; stoi\n\n\n\n",
            "Could not read number of streams from str: bad; stoi",
        ),
        (  # OpenVINO 2026.4
            "Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:\n"
            "FrontEnd API failed with OpConversionFailure:\nModel wasn't fully converted.\n",
            "FrontEnd API failed with OpConversionFailure:",
        ),
        (  # ONNX Runtime 1.31
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from /tmp/tmp3k/g.onnx failed:Protobuf parsing "
            "failed.",
            "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from g.onnx failed:Protobuf parsing failed.",
        ),
        (  # onnx 1.23
            "No Op registered for Erfc with domain_version of 20\n\n==> Context: Bad node spec for node. Name:  OpType:"
            " Erfc",
            "No Op registered for Erfc with domain_version of 20",
        ),
        ("see https://github.com/onnx/onnx/issues/1 and a/b/c", "see https://github.com/onnx/onnx/issues/1 and a/b/c"),
        ("", "RuntimeError"),
        ("x" * 1000, "x" * 400),
    ],
)
def test_the_first_line_that_says_something(text: str, sentence: str) -> None:
    assert messages.sentence(RuntimeError(text)) == sentence


def test_the_line_that_is_asked_for() -> None:
    error = ValueError("failed\n  loc(x): error: 'tf.Erf' op is not supported\nelse")
    assert messages.line(error, "is not supported") == "loc(x): error: 'tf.Erf' op is not supported"
    assert messages.line(error, "needs") == ""


def test_what_nobody_has_foreseen_is_told_whole_on_one_line() -> None:
    error = messages.raised("TFLiteConverter", KeyError("first\n\n  /usr/lib/x.py: second"))
    assert str(error) == "TFLiteConverter raised KeyError: 'first\\n\\n  x.py: second'"
    error = messages.raised("TFLiteConverter", ValueError("first\n\n  second\n"))
    assert str(error) == "TFLiteConverter raised ValueError: first second"


def test_operators_that_are_lacking_are_named_with_their_places() -> None:
    text = (
        "Summary:\n-- No conversion rule found for operations: aten.a.default, aten.b\n-- Conversion is failed for: c"
    )
    assert messages.operators(text) == ["aten.a.default", "aten.b"]
    error = messages.lacking("OpenVINO", ["aten.a"], ["layer x", "", "layer x"])
    assert str(error) == "OpenVINO cannot convert aten.a (layer x)"
