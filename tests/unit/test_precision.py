"""What a precision promises: how weights are stored and, where it is static, integer arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgekit.proof.precision import describe, reached, shortfall
from edgekit.result import IO, Inspected
from edgekit.schemes import SCHEMES
from edgekit.toolchains._shared import products
from edgekit.toolchains._shared.products import Product, Weights

SIDE = (IO(name="x", shape=(1, 4), dtype="float32"),)


def audit(elements: dict[str, int], *found: Product, **more: Any) -> Inspected:
    """An audit of a file with these weights and products."""
    counted = {"weight_bytes": elements, "weight_elements": elements, "activation_types": {}}
    return Inspected(
        inputs=SIDE, outputs=SIDE, ops_total=3, ops_quantized=0, **counted, **products.count(found), **more
    )


DENSE_WEIGHTS = np.zeros((8, 4), bool)


def stored(kind: str, zero: Any = DENSE_WEIGHTS, scales: int | None = 8, axis: int | None = 1) -> Any:
    """What a product with weights reads."""
    return lambda: [Weights(zero.shape, kind, None if "float" in kind else scales, zero, axis)]


CONV = Product("CONV", "stem", "conv", 900, False, stored("int8"))
DENSE = Product("DENSE", "head", "linear", 100, True, stored("int8"))
SCORES = Product("MATMUL", "scores", "matmul", 5000, False, None)
TABLE = Product("GATHER", "table", "embedding", 0, False, stored("float32", axis=None))


def in_float(product: Product) -> Product:
    """The same with its weights in float."""
    return product._replace(weights=stored("float32"))


def test_products_are_counted_apart() -> None:
    counts = products.count([CONV, DENSE, SCORES, CONV.times(3), TABLE])
    layers = counts.pop("layers")
    assert counts == {
        "macs_total": 900 + 100 + 2700,
        "macs_quantized": 100,
        "macs_quantized_share": 100 / 3700,
        "macs_between_activations": 5000,
        "float_ops": ("CONV:stem", "GATHER:table"),
        "float_weights": ("GATHER:table",),
    }
    assert [(layer.name, layer.macs) for layer in layers] == [
        ("stem", 900),
        ("head", 100),
        ("stem", 2700),
        ("table", 0),
    ]


def test_only_some_layers_in_float_are_named_and_all_are_listed() -> None:
    counts = products.count(CONV._replace(name=f"layer{i}") for i in range(30))
    assert counts["float_ops"] == tuple(f"CONV:layer{i}" for i in range(products.MOST_NAMED))
    assert len(counts["layers"]) == 30


#: Rows of which every other one, or the last two of each four, or one of four are zero.
HALF, LAST_TWO, ONE = np.tile([True, False], (2, 4)), np.tile([False, False, True, True], (2, 2)), np.eye(4, dtype=bool)


@pytest.mark.parametrize(
    ("zero", "axis", "zeros", "groups"),
    [
        (HALF, 1, 0.5, 1.0),
        (LAST_TWO, 1, 0.5, 1.0),
        (np.arange(8)[None] < 4, 1, 0.5, 0.5),
        (ONE, 1, 0.25, 0.0),
        (np.ones((2, 6), bool), 1, 1.0, None),
        (HALF, None, 0.5, None),
        (np.repeat([[True], [False], [True], [True]], 3, 1).reshape(1, 4, 3, 1), 1, 0.75, 1.0),
        (np.arange(24).reshape(1, 4, 3, 2) < 12, 1, 0.5, 1.0),
        (LAST_TWO[None], -1, 0.5, 1.0),
    ],
)
def test_zeros_are_counted_along_the_axis_of_the_sum(zero: Any, axis: int | None, zeros: float, groups: Any) -> None:
    layer = products.layer(CONV._replace(weights=stored("int8", zero, 1, axis)))
    assert (layer.shape, layer.zeros, layer.zeros_2_4) == (zero.shape, zeros, groups)


@pytest.mark.parametrize(
    ("shape", "scales", "granularity"),
    [((8, 64), 1, "tensor"), ((8, 64), 8, "channel"), ((8, 64), 16, "block:32"), ((8, 1, 3, 3), 8, "channel"),
     ((8, 3, 3, 3), 8, "channel"), ((8, 64), 512, "block:1")],
)  # fmt: skip
def test_granularity_says_how_many_weights_share_a_scale(shape: Any, scales: int, granularity: str) -> None:
    layer = products.layer(CONV._replace(weights=stored("int8", np.zeros(shape, bool), scales)))
    assert layer.granularity == granularity
    assert products.layer(in_float(CONV)).granularity is None


def test_matrices_of_a_recurrent_layer_are_one_layer() -> None:
    gates = [Weights((4, 6), "int8", 1, np.zeros((4, 6), bool))] * 4
    states = [Weights((4, 4), "float16", None, np.ones((4, 4), bool), state=True)] * 4
    layer = products.layer(Product("LSTM", "cell", "recurrent", 160, False, lambda: [*gates, *states]))
    assert (layer.shape, layer.weight_type, layer.granularity) == ((16, 6 + 4), "int8+float16", "tensor")
    assert layer.zeros == 0.4, "16 of 40 in each gate"
    assert layer.zeros_2_4 is None, "the six inputs of a gate do not fall into groups of four"


def test_a_layout_that_does_not_fit_is_left_as_it_is() -> None:
    odd = Weights((5, 3, 2), "int8", 1, np.zeros((5, 3, 2), bool))
    assert odd.laid_out(lambda a: products.transposed_filter(a, 2)) == odd._replace(axis=None)
    assert odd.laid_out(lambda a: products.transposed_filter(a, 0)).shape == (5, 3, 2)


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-weights"])
def test_storage_is_promised_and_arithmetic_is_said(precision: Any) -> None:
    kept = audit({"int8": 990, "float32": 10}, CONV, DENSE, SCORES)
    assert shortfall(SCHEMES[precision], kept) == ""
    assert describe(SCHEMES[precision], kept) == (
        f"{precision} (99% of weights int8, 10% of MACs with weights in integers, "
        "83% of all MACs are between activations and not counted)"
    )
    alone = audit({"int8": 990, "float32": 10}, CONV, DENSE)
    assert describe(SCHEMES[precision], alone) == f"{precision} (99% of weights int8, 10% of MACs in integers)"
    assert reached(SCHEMES[precision], kept) == 0.99


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-weights"])
def test_weights_that_stayed_float_are_named(precision: Any) -> None:
    left = audit({"int8": 740, "float32": 260}, in_float(CONV), DENSE)
    assert shortfall(SCHEMES[precision], left) == (
        "only 74% of the weights are int8 (float32 260, int8 740); stored in float: CONV:stem"
    )
    nothing = audit({"float32": 1000}, in_float(CONV), in_float(DENSE))
    assert shortfall(SCHEMES[precision], nothing).startswith("only 0% of the weights are int8")


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_static_files_promise_arithmetic_of_products_with_weights(precision: Any) -> None:
    float_conv = audit({"int8": 1000}, CONV, DENSE, SCORES)
    assert shortfall(SCHEMES[precision], float_conv) == (
        "only 10% of the multiply-accumulates are computed in integers; in float: CONV:stem"
    )
    most = audit({"int8": 1000}, CONV._replace(integer=True), DENSE._replace(integer=False), SCORES)
    assert shortfall(SCHEMES[precision], most) == "", "attention in float decides nothing"
    said = f"{precision} (100% of weights int8, 90% of MACs with weights in integers, 83% of all MACs are between"
    assert describe(SCHEMES[precision], most).startswith(said)


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
