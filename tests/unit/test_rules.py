"""Rules per layer and ranges by hand: which layers a pattern takes, what a range becomes, what a file is judged on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import cli, target
from edgekit.errors import UnsupportedError, UsageError
from edgekit.proof.precision import describe, reached, shortfall, without
from edgekit.scheme import Range, Rule
from edgekit.schemes import SCHEMES
from edgekit.toolchains import Kept, Request
from edgekit.toolchains._shared import rules
from edgekit.toolchains._shared.rules import Found
from tests import null
from tests.unit.test_precision import CONV, DENSE, audit, in_float
from tests.unit.test_whole_pipeline import converted, ordered

INT8 = SCHEMES["int8"]
LAYERS = [
    Found("a", ("net/conv1_1/Relu", "conv1_1"), "conv", 60, ("conv1",)),
    Found("b", ("net/conv2_1/Relu", "conv2_1"), "depthwise-conv", 30, ("conv2",)),
    Found("c", ("output", "head_1"), "linear", 10, ("head",)),
]


def asked(*layers: Rule, ranges: tuple[Range, ...] = (), whole: bool = True, scheme: Any = INT8) -> Request:
    return Request(Path(), scheme, False, None, None, (), (), layers=layers, ranges=ranges, whole=whole)


def floats(*layers: Rule, **more: Any) -> tuple[str, ...]:
    return rules.outcomes(asked(*layers, **more), LAYERS).floats


def rule(name: str | None = None, kind: Any = None, becomes: Any = "float") -> Rule:
    return Rule(name=name, kind=kind, becomes=becomes)


def test_a_pattern_or_a_kind_takes_layers_and_the_first_rule_counts() -> None:
    assert floats(rule("conv1_1")) == ("a",)
    assert floats(rule("conv?_1")) == ("a", "b")
    assert floats(rule("net/*")) == ("a", "b")
    assert floats(rule(kind="linear")) == ("c",)
    assert floats(rule("conv*", "depthwise-conv")) == ("b",)
    assert floats(rule("conv2_1", becomes=INT8), rule("conv*")) == ("a",)
    assert floats(rule("conv*"), rule("conv2_1", becomes=INT8)) == ("a", "b")


def test_the_number_that_tensorflow_adds_counts_only_where_nothing_is_called_so() -> None:
    assert floats(rule("head")) == ("c",)
    numbered = [Found("a", ("conv_1",), "conv", 1, ("conv",)), Found("b", ("conv_1_1",), "conv", 1, ("conv_1",))]
    assert rules.outcomes(asked(rule("conv_1")), numbered).floats == ("a",)


def test_what_was_kept_is_called_as_the_rule_called_it() -> None:
    (kept,) = rules.outcomes(asked(rule("head")), LAYERS).kept
    assert kept == Kept(("head", "output", "head_1"), "linear", 10)


def test_no_rules_list_no_layers() -> None:
    def listed() -> Any:
        raise AssertionError("nothing asks for them")
        yield

    assert rules.outcomes(asked(), listed()).kept == ()


def test_a_rule_that_takes_nothing_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no layer is 'hed'; there is head_1, ") as raised:
        floats(rule("hed"))
    assert "inspect" in raised.value.hint
    with pytest.raises(UsageError, match="no layer is recurrent; there is "):
        floats(rule(kind="recurrent"))
    assert floats(rule("hed"), whole=False) == (), "another part may have it"


def test_not_everything_is_kept() -> None:
    with pytest.raises(UsageError, match="all 3 layers are to be kept in float: nothing would be quantized"):
        floats(rule("*"))


def test_a_scheme_is_given_to_a_layer_where_the_route_can() -> None:
    dynamic = SCHEMES["int8-dynamic"]
    with pytest.raises(UnsupportedError, match="cannot give int8-dynamic to a single layer, 'conv1_1'"):
        floats(rule("conv1_1", becomes=dynamic))
    found = rules.outcomes(asked(rule("conv1_1", becomes=dynamic)), LAYERS, able=lambda s: s.dynamic)
    assert (found.floats, found.schemes) == ((), {"a": dynamic})
    assert [(kept.names[0], kept.becomes) for kept in found.kept] == [("conv1_1", "int8-dynamic")]


@pytest.mark.parametrize("said", [{}, {"name": ""}, {"kind": "convolution"}])
def test_a_rule_says_of_which_layers(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Rule(becomes="float", **said)


# Ranges ---------------------------------------------------------------------------------------------------------------


def test_scale_and_zero_point_of_ranges_computed_by_hand() -> None:
    six = Range("x", 0.0, 6.0)
    assert (six.scale, six.zero_point, six.bounds) == (6 / 255, -128, (0.0, 6.0))
    uneven = Range("x", -6.5, 3.0)
    assert (uneven.scale, uneven.zero_point) == (9.5 / 255, 46)
    assert uneven.bounds == pytest.approx((-174 * 9.5 / 255, 81 * 9.5 / 255))
    assert Range("x", -2.0, 4.0, symmetric=True).scale == 4 / 127
    assert Range("x", -4.0, 2.0, 16, symmetric=True).scale == 4 / 32767


@given(low=st.floats(-1e4, 0), high=st.floats(1e-3, 1e4), bits=st.sampled_from([4, 8, 16]))
def test_zero_and_the_bounds_are_on_the_grid(low: float, high: float, bits: Any) -> None:
    one = Range("x", low, high, bits)
    bottom, top = one.bounds
    assert -(2 ** (bits - 1)) <= one.zero_point < 2 ** (bits - 1)
    assert math.isclose(top - bottom, high - low, rel_tol=1e-9)
    assert abs(bottom - low) <= one.scale / 2 * (1 + 1e-6)


@pytest.mark.parametrize("wrong", [(1.0, 2.0), (-2.0, -1.0), (0.0, 0.0), (-math.inf, 1.0), (math.nan, 1.0)])
def test_a_range_holds_zero(wrong: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="'x'"):
        Range("x", *wrong)


def test_a_range_is_for_a_tensor_that_is_there() -> None:
    values = {"image": "serving_default_image:0", "conv1": "relu"}
    one = Range("image", -1.0, 1.0)
    assert rules.ranges(asked(ranges=(one,)), values) == {"serving_default_image:0": one}
    with pytest.raises(UsageError, match="there is no tensor 'imag' to give a range to; there is image, conv1"):
        rules.ranges(asked(ranges=(replace(one, tensor="imag"),)), values)
    assert rules.ranges(asked(ranges=(replace(one, tensor="imag"),), whole=False), values) == {}
    for wrong in (replace(one, bits=16), replace(one, granularity="channel")):
        with pytest.raises(UnsupportedError, match="int8 has 8 per tensor"):
            rules.ranges(asked(ranges=(wrong,)), values)
    with pytest.raises(UnsupportedError, match="activations of this format have none"):
        rules.ranges(asked(ranges=(one,)), values, symmetric=True)


# The judge ------------------------------------------------------------------------------------------------------------


def test_a_file_is_judged_on_what_no_rule_kept() -> None:
    left = audit({"int8": 32, "float32": 32}, in_float(CONV), DENSE, ops_float={"CONV": 1, "SUM": 2})
    kept = (Kept(("conv1", "stem"), "conv", 900),)
    assert "10% of the multiply-accumulates" in shortfall(INT8, left)
    rest = without(left, kept)
    assert shortfall(INT8, rest) == "" and reached(INT8, rest) == 1.0
    assert rest.weight_elements == {"int8": 32} and rest.ops_float == {"SUM": 2} and rest.float_ops == ()
    said = "100% of MACs in integers but for 1 layer that was kept in float"
    assert describe(INT8, without(audit({"int8": 32, "float32": 32}, in_float(CONV), DENSE), kept), 1) == (
        f"int8 (100% of weights int8, {said})"
    )
    assert without(left, (Kept(("0/1",), "conv", 900),)).macs_total == 100, "found by its work where names are others"


def test_a_layer_that_was_not_kept_is_a_finding() -> None:
    missing = shortfall(INT8, without(audit({"int8": 64}, CONV, DENSE), (Kept(("head",), "linear", 100),)))
    assert missing == "head was to be kept in float, and the file has no such layer in float"


def test_what_else_stayed_in_float_still_counts() -> None:
    both = audit({"float32": 64}, in_float(CONV), in_float(DENSE))
    assert "only 0% of the weights" in shortfall(INT8, without(both, (Kept(("stem",), "conv", 900),)))


# The whole way, by the toolchain without a vendor ---------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("EDGEKIT_PATH", str(null.HERE))
    with null.installed():
        yield null.samples(tmp_path)


def test_keeping_a_layer_in_float_is_told_and_is_no_mixed_precision(data: Any, tmp_path: Path) -> None:
    result = converted(ordered(keep_float=("dense0",), output=tmp_path / "out", **data), tmp_path / "home")
    assert result.status == "PASS" and result.keep_float == ("dense0",)
    assert [(k.part, k.name, k.kind, k.macs) for k in result.kept_float] == [("model", "dense0", "linear", 128)]
    assert "kept in float: dense0 (66.7% of MACs)" in result.notes
    assert result.precision_reached is not None and "but for 1 layer that was kept in float" in result.precision_reached
    assert result.audit is not None and [layer.in_integers for layer in result.audit.layers] == [False, True]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["keep_float"] == ["dense0"] and manifest["kept_float"][0]["macs"] == 128
    plain = converted(ordered(output=tmp_path / "plain", **data), tmp_path / "home")
    assert plain.kept_float == () and plain.audit is not None and all(layer.in_integers for layer in plain.audit.layers)


def test_patterns_that_take_nothing_or_everything_are_errors_of_use(data: Any, tmp_path: Path) -> None:
    for pattern, why in (("dens", "no layer is .dens.; there is dense1, dense0"), ("*", "all 2 layers")):
        with pytest.raises(UsageError, match=why):
            converted(ordered(keep_float=(pattern,), output=tmp_path / "out", **data), tmp_path / "home")
    with pytest.raises(UsageError, match="null-fp32 quantizes nothing"):
        converted(ordered(name="null-fp32", keep_float=("dense0",), **data), tmp_path / "home")


def test_a_route_without_rules_is_passed_to_the_next(data: Any, tmp_path: Path) -> None:
    order = ordered(["kept", "rounded"], keep_float=("dense1",), output=tmp_path / "out", **data)
    result = converted(order, tmp_path / "home")
    assert [(t.route, t.status) for t in result.routes_tried] == [("kept", "UNSUPPORTED"), ("rounded", "PASS")]
    assert "does not know rules per layer (--keep-float): it is a bad route" in result.routes_tried[0].reason


def test_of_several_parts_one_must_have_it(data: Any, tmp_path: Path) -> None:
    order = ordered(name="null-int8-dynamic", source="pair@torch", output=tmp_path / "out")
    assert order.target == target.load("null-int8-dynamic")
    for pattern, why in (("dense7", "no layer of any part is 'dense7'"), ("*", "layers are to be kept in float")):
        with pytest.raises(UsageError, match=why):
            converted(replace(order, keep_float=(pattern,)), tmp_path / "home")


def test_help_says_how_to_keep_a_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["convert", "--help"]) == 0
    assert "--keep-float" in capsys.readouterr().out
