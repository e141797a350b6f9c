"""What a precision promises: how weights are stored and, where it is static, integer arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.proof.precision import describe, reached, shortfall
from edgekit.scheme import SCHEMES
from edgekit.toolchains import Audit, IOTensor
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Product

SIDE = (IOTensor("x", (1, 4), "float32"),)


def audit(elements: dict[str, int], *found: Product, **more: Any) -> Audit:
    """An audit of a file with these weights and products."""
    return Audit(SIDE, SIDE, dict(elements), elements, {}, 3, 0, **products.count(found), **more)


CONV = Product("CONV:stem", 900, True, False, False)
DENSE = Product("DENSE:head", 100, True, True, False)
SCORES = Product("MATMUL:scores", 5000, False, False, False)


def test_products_are_counted_apart() -> None:
    counts = products.count([CONV, DENSE, SCORES, CONV.times(3), Product("GATHER:table", 0, True, False, True)])
    assert counts == {
        "macs_total": 900 + 100 + 2700,
        "macs_quantized": 100,
        "macs_between_activations": 5000,
        "float_ops": ("CONV:stem", "GATHER:table"),
        "float_weights": ("GATHER:table",),
    }


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-weights"])
def test_storage_is_promised_and_arithmetic_is_said(precision: Any) -> None:
    kept = audit({"int8": 990, "float32": 10}, CONV, DENSE, SCORES)
    assert shortfall(SCHEMES[precision], kept) == ""
    assert describe(SCHEMES[precision], kept) == f"{precision} (99% of weights int8, 10% of MACs in integers)"
    assert reached(SCHEMES[precision], kept) == 0.99


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-weights"])
def test_weights_that_stayed_float_are_named(precision: Any) -> None:
    left = audit({"int8": 740, "float32": 260}, CONV._replace(float_weights=True), DENSE)
    assert shortfall(SCHEMES[precision], left) == (
        "only 74% of the weights are int8 (float32 260, int8 740); stored in float: CONV:stem"
    )
    nothing = audit({"float32": 1000}, CONV._replace(float_weights=True), DENSE._replace(float_weights=True))
    assert shortfall(SCHEMES[precision], nothing).startswith("only 0% of the weights are int8")


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_static_files_promise_arithmetic_of_products_with_weights(precision: Any) -> None:
    float_conv = audit({"int8": 1000}, CONV, DENSE, SCORES)
    assert shortfall(SCHEMES[precision], float_conv) == (
        "only 10% of the multiply-accumulates are computed in integers; in float: CONV:stem"
    )
    most = audit({"int8": 1000}, CONV._replace(integer=True), DENSE._replace(integer=False), SCORES)
    assert shortfall(SCHEMES[precision], most) == "", "attention in float decides nothing"
    assert describe(SCHEMES[precision], most) == f"{precision} (100% of weights int8, 90% of MACs in integers)"


def test_shares_are_never_rounded_up_to_a_limit() -> None:
    just = audit({"int8": 1000}, CONV._replace(integer=True, macs=8999), DENSE._replace(integer=False, macs=1001))
    assert shortfall(SCHEMES["int8"], just).startswith("only 89% of the multiply-accumulates")


def test_float_precisions_say_how_weights_are_stored() -> None:
    assert describe(SCHEMES["fp32"], audit({"float32": 10}, CONV)) == "fp32 (100% of weights float32)"
    assert shortfall(SCHEMES["fp32"], audit({"float32": 10}, CONV)) == ""
    assert shortfall(SCHEMES["fp32"], audit({"float32": 10, "float16": 1}, CONV)).startswith("only 90% of the weights")
    assert shortfall(SCHEMES["fp16"], audit({"float16": 9, "float32": 1}, CONV)) == ""


def test_findings_come_first_and_a_file_without_weights_is_what_it_claims() -> None:
    assert shortfall(SCHEMES["int8"], audit({}, findings=("a scale is 0",))) == "a scale is 0"
    assert shortfall(SCHEMES["int8"], audit({})) == ""
    assert describe(SCHEMES["int8"], audit({})) == "int8"
    assert reached(SCHEMES["int8"], audit({})) == 1


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], 24),
        ("bhid,bhjd->bhij", [(1, 2, 3, 4), (1, 2, 5, 4)], 2 * 3 * 5 * 4),
        ("...ij,...jk->...ik", [(5, 6, 2, 3), (5, 6, 3, 4)], 30 * 24),
        ("...ij,jk", [(5, 2, 3), (3, 4)], 5 * 24),
        ("b...i,b...i->b...", [(1, 4, 3), (7, 4, 3)], 7 * 4 * 3),
    ],
)
def test_einsum(equation: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    assert products.einsum(equation, shapes) == macs


@pytest.mark.parametrize(
    ("start", "step", "limit", "trips"), [(0, 1, 72, 72), (2, 3, 9, 3), (5, 1, 5, 0), (0, 0, 9, 1)]
)
def test_trips(start: int, step: int, limit: int, trips: int) -> None:
    assert products.trips(start, step, limit) == trips
