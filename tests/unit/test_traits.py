"""Traits of hand-made graphs: each rule, and what is often taken for what it is not."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from edgekit.signature import TRAITS, State
from edgekit.toolchains._shared import traits
from edgekit.toolchains._shared.traits import Body, Graph, Kind, Node

RNG = np.random.default_rng(0)


def weights(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def op(kind: Kind, inputs: str, output: str, **more: Any) -> Node:
    return Node(kind, more.pop("op", kind), tuple(inputs.split()), tuple(output.split()), **more)


def found(*nodes: Node, constants: Any = None, again: tuple[tuple[str, str], ...] = ()) -> set[str]:
    return set(traits.find(Graph(nodes, constants or {}), [State(*pair) for pair in again]))


W, U, V = weights(8, 8), weights(8, 8), weights(8, 8)


def test_every_trait_is_explained() -> None:
    assert set(get_args(Kind)) >= traits.PRODUCTS
    assert traits.__doc__ is not None
    assert {line.split("``")[1] for line in traits.__doc__.splitlines() if line.startswith("``")} == set(TRAITS)


def test_a_wavenet_block_is_gated_and_not_recurrent() -> None:
    block = (
        op("conv", "x filter", "f"), op("conv", "x gate", "g"), op("other", "f", "t"), op("sigmoid", "g", "s"),
        op("multiply", "t s", "m"), op("conv", "m residual", "r"), op("other", "r x", "y", op="add"),
    )  # fmt: skip
    assert found(*block, constants={"filter": W, "gate": U, "residual": V}) == {"gated"}


def test_squeeze_excite_is_gated_and_swish_is_not() -> None:
    excite = (
        op("other", "x", "p", op="mean"), op("matmul", "p a", "q"), op("matmul", "q b", "r"), op("sigmoid", "r", "s"),
        op("move", "s", "t"), op("multiply", "x t", "y"),
    )  # fmt: skip
    assert found(*excite, constants={"a": W, "b": U}) == {"gated"}
    assert (
        found(op("matmul", "x a", "h"), op("sigmoid", "h", "s"), op("multiply", "h s", "y"), constants={"a": W})
        == set()
    )
    scaled = (op("sigmoid", "x", "s"), op("multiply", "s factor", "y"))
    assert found(*scaled, constants={"factor": np.float32(2.0)}) == set()


def test_glu_is_gated() -> None:
    halves = op("move", "h", "a b", op="split")
    assert found(halves, op("sigmoid", "b", "s"), op("multiply", "a s", "y")) == {"gated"}


def test_equal_weights_of_two_steps_are_unrolled_whatever_they_are_called() -> None:
    steps = (
        op("matmul", "h0 u0", "a"), op("other", "a x1", "h1"), op("move", "u1", "turned"),
        op("matmul", "h1 u2", "b"), op("other", "b x2", "h2"),
    )  # fmt: skip
    assert found(*steps, constants={"u0": U, "u1": U, "u2": U.copy()}) == {"recurrent", "unrolled"}
    assert found(*steps, constants={"u0": U, "u1": U, "u2": V}) == set()


def test_a_siamese_network_and_a_head_on_several_scales_are_not_recurrent() -> None:
    siamese = (
        op("matmul", "left w", "a"), op("matmul", "a u", "c"), op("matmul", "right w", "b"), op("matmul", "b u", "d"),
        op("other", "c d", "y", op="sub"),
    )  # fmt: skip
    assert found(*siamese, constants={"w": W, "u": U}) == set()


def test_tied_embeddings_are_not_recurrent() -> None:
    tied = (
        op("other", "table tokens", "h", op="gather"), op("matmul", "h w", "i"), op("move", "table", "turned"),
        op("matmul", "i turned", "logits"),
    )  # fmt: skip
    assert found(*tied, constants={"table": weights(40, 8), "w": W}) == set()


def test_an_iterated_layer_is_called_unrolled() -> None:
    twice = (op("matmul", "x w", "a"), op("matmul", "a u", "b"), op("matmul", "b w", "c"))
    assert found(*twice, constants={"w": W, "u": U}) == {"recurrent", "unrolled"}


def test_a_blur_between_layers_is_a_filter_and_no_weights() -> None:
    blur = np.tile(np.outer([1, 2, 1], [1, 2, 1]).astype(np.float32) / 16, (8, 1, 1, 1))
    nodes = (
        op("conv", "x blur", "a", groups=8, channels=8), op("conv", "a w", "b"),
        op("conv", "b copy", "c", groups=8, channels=8),
    )  # fmt: skip
    assert found(*nodes, constants={"blur": blur, "copy": blur.copy(), "w": W}) == {"depthwise"}


def test_layers_that_begin_with_zeros_are_not_the_same() -> None:
    nodes = (op("matmul", "x a", "p"), op("matmul", "p b", "y"))
    assert found(*nodes, constants={"a": np.zeros((8, 8), "f4"), "b": np.zeros((8, 8), "f4")}) == set()


def test_a_cell_is_stateful_where_its_state_comes_back() -> None:
    cell = (op("matmul", "x w", "a"), op("matmul", "h u", "b"), op("other", "a b", "next"), op("matmul", "next v", "y"))
    constants = {"w": W, "u": U, "v": V}
    assert found(*cell, constants=constants) == set()
    assert found(*cell, constants=constants, again=(("next", "h"),)) == {"recurrent", "stateful"}


def test_a_streaming_convolution_that_keeps_its_last_inputs_is_not_recurrent() -> None:
    nodes = (
        op("move", "first x", "seen"), op("conv", "seen w", "a"),
        op("move", "second a", "kept"), op("conv", "kept u", "y"),
    )  # fmt: skip
    assert found(*nodes, constants={"w": W, "u": U}, again=(("seen", "first"), ("kept", "second"))) == set()


def test_states_of_two_layers_reach_each_other_over_two_calls() -> None:
    nodes = (op("matmul", "a w", "b_next"), op("matmul", "b u", "a_next"))
    states = (("b_next", "b"), ("a_next", "a"))
    assert found(*nodes, constants={"w": W, "u": U}, again=states) == {"recurrent", "stateful"}


def test_a_loop_is_recurrent_where_a_product_feeds_itself() -> None:
    def loop(*nodes: Node, constants: Any, again: tuple[tuple[str, str], ...], given: dict[str, str]) -> Node:
        body = Body(Graph(nodes, constants, again), given)
        return op("loop", "start sequence outer", "y", bodies=(body,))

    step = op("matmul", "h u", "n")
    inside = loop(step, constants={"u": U}, again=(("n", "h"),), given={"h": "start"})
    assert found(inside) == {"loops", "looped", "recurrent"}
    captured = loop(op("matmul", "h outer", "n"), constants={}, again=(("n", "h"),), given={"h": "start"})
    assert found(captured, constants={"outer": U, "start": np.zeros((1, 8), "f4")}) == {"loops", "looped", "recurrent"}
    carried = loop(step, constants={}, again=(("n", "h"), ("u", "u")), given={"h": "start", "u": "outer"})
    assert found(carried) == {"loops", "looped", "recurrent"}
    each = loop(op("matmul", "s u", "n"), constants={"u": U}, again=(("i", "i"),), given={"s": "sequence"})
    assert found(each) == {"loops"}


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ((op("softmax", "s", "p"), op("move", "p", "q"), op("matmul", "q v", "y")), {"attention"}),
        ((op("softmax", "s", "p"), op("move", "mask p zero", "q"), op("matmul", "v q", "y")), {"attention"}),
        ((op("softmax", "s", "p"), op("matmul", "p bins", "y")), set()),  # a detector's expectation over bins
        ((op("softmax", "s", "p"), op("matmul", "s v", "y")), set()),
        ((op("attention", "q k v", "y"),), {"attention"}),
        ((op("cell", "x w r", "y h"),), {"cells", "recurrent"}),
        ((op("conv_transpose", "x w", "y"),), {"transposed"}),
        ((op("conv", "x w", "y", groups=4, channels=8),), {"grouped"}),
        ((op("conv", "x w", "y", groups=8, channels=8),), {"depthwise"}),
        ((op("conv", "x w", "y", groups=1, channels=1),), set()),
    ],
)  # fmt: skip
def test_operators(nodes: tuple[Node, ...], wanted: set[str]) -> None:
    constants = {"bins": weights(16, 1), "w": W, "r": U, "zero": np.float32(0)}
    assert found(*nodes, constants=constants) == wanted
