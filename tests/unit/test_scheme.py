"""What a scheme may say, and what is read from it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from edgekit import catalogue, limits, schemes, target
from edgekit.errors import UsageError
from edgekit.proof.precision import describe, reached, shortfall, weight_share
from edgekit.result import IO, Inspected
from edgekit.scheme import GROUPS, Floors, Scheme
from edgekit.schemes import FP32, SCHEMES

FLOORS = Floors(sqnr_db=12, cosine=0.97, variation_db=12, channel_db=6, equal=0.9)
INT8, FP16 = SCHEMES["int8"], SCHEMES["fp16"]


def weights_of(kind: Any, **said: Any) -> Scheme:
    """Weights alone in integers."""
    named = {"name": "mine", "weights": kind, "activations": "float32", "floors": FLOORS, "stored": 0.75}
    return Scheme(**named | said)


def file_of(elements: dict[str, int], macs: int = 100, in_integers: int = 0) -> Inspected:
    side = (IO(name="x", shape=(1, 4), dtype="float32"),)
    counted = {"weight_bytes": elements, "weight_elements": elements, "activation_types": {}}
    sums = {"macs_total": macs, "macs_quantized": in_integers, "macs_quantized_share": in_integers / macs}
    return Inspected(inputs=side, outputs=side, ops_total=3, ops_quantized=0, **counted, **sums)


# The table ------------------------------------------------------------------------------------------------------------


def test_todays_precisions_say_what_they_are() -> None:
    facts = {
        name: (
            s.weights,
            s.activations,
            s.is_float,
            s.needs_calibration,
            s.weights_only,
            s.promises_arithmetic,
            s.words,
        )
        for name, s in SCHEMES.items()
    }
    expected = {
        "int8": ("int8", "int8", False, True, False, True, "static int8"),
        "int8-dynamic": ("int8", "int8", False, False, False, False, "dynamic int8"),
        "int8-weights": ("int8", "float32", False, False, True, False, "int8 weights"),
        "int16x8": ("int8", "int16", False, True, False, True, "static int16 on int8 weights"),
        "fp16": ("float16", "float16", True, False, False, False, "fp16"),
        "fp32": ("float32", "float32", True, False, False, False, "fp32"),
    }
    assert {name: facts[name] for name in expected} == expected


def test_every_scheme_is_found_by_its_name_and_makes_a_gate() -> None:
    assert [s.name for s in SCHEMES.values()] == list(SCHEMES)
    for name, found in SCHEMES.items():
        assert schemes.find(name) is found
        assert limits.Gate.model_validate(limits.with_defaults(found, {})).beyond_ceilings(found) == []


def test_floors_are_the_limits_of_the_gate() -> None:
    found = limits.parity(weights_of("int4", granularity="block", group=32)).model_dump()
    assert found == {
        "sqnr_db_min": 12,
        "cosine_min": 0.97,
        "variation_db_min": 12,
        "channel_db_min": 6,
        "equal_min": 0.9,
    }
    assert len(found) == len(fields(Floors))


@pytest.mark.parametrize(
    ("name", "meant"),
    [("int9", "did you mean 'int8'? "), ("float16", "did you mean 'fp16'? "), ("", ""), ("a number", "")],
)
def test_an_unknown_precision_is_refused_with_the_nearest_name(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as error:
        schemes.find(name)
    assert str(error.value) == f"unknown precision {name!r}; {meant}known: {', '.join(SCHEMES)}"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ('"int9"', "mine.toml: precision: Value error, unknown precision 'int9'; did you mean 'int8'? known: "),
        ("8", "mine.toml: precision: Input should be a valid string"),
        ('["int8"]', "mine.toml: precision: Input should be a valid string"),
    ],
)
def test_a_target_of_an_unknown_precision_is_refused(tmp_path: Any, said: str, answer: str) -> None:
    text = catalogue.find("targets", "tflite-int8").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('precision = "int8"', f"precision = {said}"))
    with pytest.raises(UsageError) as error:
        target.parse(path)
    assert str(error.value).startswith(answer)


def test_those_that_quantize_less_stand_behind() -> None:
    behind = ["tflite-int8-dynamic", "tflite-int16x8", "tflite-fp16", "tflite-fp32"]
    assert target.gentler(target.load("tflite-int8")) == behind
    assert target.gentler(target.load("tflite-int16x8")) == behind[2:]
    assert target.gentler(target.load("openvino-int8"))[0] == "openvino-int8-weights"
    assert target.gentler(target.load("tflite-fp32")) == []


# What cannot be said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "change", "rule"),
    [
        (INT8, {"weights": "int7"}, "weights: 'int7' is none of float32, float16, int8, int4"),
        (INT8, {"activations": "bfloat16"}, "activations: 'bfloat16' is none of"),
        (INT8, {"granularity": "row"}, "granularity: 'row' is none of None, tensor, channel, block"),
        (INT8, {"granularity": "block", "group": 48}, "group: 48 is none of None, 32, 64, 128"),
        (INT8, {"granularity": None}, "integer weights alone say a granularity"),
        (FP32, {"granularity": "channel"}, "integer weights alone say a granularity"),
        (INT8, {"granularity": "block"}, "blocks alone have a group"),
        (INT8, {"granularity": "channel", "group": 32}, "blocks alone have a group"),
        (FP16, {"activations": "int8", "integers": 0.9}, "integer activations need integer weights"),
        (
            INT8,
            {"activations": "float32", "dynamic": True, "integers": None},
            "dynamic scales need integer activations",
        ),
        (INT8, {"activations": "float32"}, "arithmetic in integers needs integer activations"),
        (INT8, {"integers": None}, "a static scheme promises arithmetic"),
        (INT8, {"stored": 0}, "a share lies above 0"),
        (INT8, {"stored": 1.1}, "a share lies above 0"),
        (INT8, {"integers": 0}, "a share lies above 0"),
    ],
)
def test_what_no_file_can_be_is_refused(known: Scheme, change: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        replace(known, **change)


# What else can be said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", GROUPS)
def test_int4_weights_in_blocks(group: int) -> None:
    found = weights_of("int4", granularity="block", group=group)
    assert (found.weights_only, found.needs_calibration, found.promises_arithmetic) == (True, False, False)
    assert (found.words, found.stored_as) == (f"int4 weights in blocks of {group}", ("int4", "uint4"))
    kept = file_of({"int4": 96, "float16": 4, "int32": 500})  # scales are weights of a type that was not asked for
    assert shortfall(found, kept) == ""
    assert describe(found, kept) == "mine (96% of weights int4, 0% of MACs in integers)"
    assert shortfall(found, file_of({"float32": 100})).startswith("only 0% of the weights are int4 (float32 100)")
    assert shortfall(found, file_of({"int8": 100})).startswith("only 0% of the weights are int4 (int8 100)")


@pytest.mark.parametrize("group", GROUPS)
def test_int4_weights_in_blocks_under_dynamic_int8(group: int) -> None:
    """8da4w: what multiplies in integers is the runtime's choice, or is promised as well."""
    found = weights_of("int4", activations="int8", dynamic=True, granularity="block", group=group)
    assert (found.weights_only, found.needs_calibration, found.promises_arithmetic) == (False, False, False)
    assert found.words == f"dynamic int8 on int4 weights in blocks of {group}"
    assert reached(found, file_of({"uint4": 90, "float32": 10})) == 0.9
    promising = replace(found, integers=0.9)
    assert shortfall(promising, file_of({"int4": 100}, in_integers=89)).startswith("only 89% of the multiply-acc")
    assert shortfall(promising, file_of({"int4": 100}, in_integers=90)) == ""


def test_int4_per_channel() -> None:
    found = weights_of("int4", granularity="channel")
    assert found.words == "int4 weights"
    assert weight_share(found, file_of({"int4": 60, "uint4": 20, "int8": 20, "int32": 500})) == 0.8


@pytest.mark.parametrize(("granularity", "shared"), [("tensor", " per tensor"), ("channel", "")])
def test_int16_activations_on_int8_weights(granularity: Any, shared: str) -> None:
    found = weights_of("int8", activations="int16", granularity=granularity, integers=0.9)
    assert (found.needs_calibration, found.promises_arithmetic) == (True, True)
    assert found.words == f"static int16 on int8 weights{shared}"
    assert shortfall(found, file_of({"int8": 100}, in_integers=100)) == ""
    assert shortfall(found, file_of({"int8": 100}, in_integers=50)).startswith("only 50% of the multiply-accumulates")


def test_what_judges_is_in_no_key() -> None:
    """A floor or a share that moves makes no file again; all else does."""
    one = SCHEMES["int8"]
    moved = replace(one, floors=replace(one.floors, sqnr_db=1), stored=0.1, integers=0.1)
    assert one.identity() == moved.identity()
    for other in (replace(one, granularity="tensor"), replace(one, integers=None, dynamic=True)):
        assert one.identity() != other.identity()
