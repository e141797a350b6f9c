"""Every route of every toolchain on six small graphs: it converts, or says why not, and its file answers as the
framework does. A new route is tested for free; one that refuses a graph is listed here.
"""

from __future__ import annotations

from typing import Any

import pytest

from edgekit import toolchains

pytestmark = pytest.mark.xdist_group("six-graphs")

GRAPHS = frozenset(("cnn", "mlp", "attention", "lstm", "lookup", "llama"))
CELLS = frozenset(("lstm",))
#: Decibels that tell a file whose graph is right: far below what the eight samples give, far above noise.
LEAST = {"export": 100, "cast": 50, "dynamic": 25, "weights": 25, "ptq": 20}
#: Kinds of child that routes start in; those that quantize a file come with PyTorch's.
STARTS = ("torch", "keras-tensorflow", "keras-torch")
#: Graphs that a route refuses, by toolchain, kind of child and route; the vendor's own words stand in the message.
REFUSED: dict[tuple[str, str, str], frozenset[str]] = {
}  # fmt: skip


@pytest.mark.parametrize("environment", STARTS)
@pytest.mark.parametrize("toolchain", toolchains.names())
def test_each_route_keeps_each_graph_or_says_why_not(outcomes: Any, toolchain: str, environment: str) -> None:
    rows = outcomes(toolchain, environment=environment)
    assert {model for model, _ in rows} == (GRAPHS if rows else set())
    refused: dict[str, set[str]] = {}
    for (model, route), row in rows.items():
        assert "raised" not in row, (model, route, row["raised"][-2000:])
        if "unsupported" in row:
            assert len(row["unsupported"]) > 20, (model, route)
            refused.setdefault(route, set()).add(model)
        elif row["sqnr_db"] is not None:
            assert row["sqnr_db"] >= LEAST[route.split("-")[0]], (model, route)
    listed = {key[2]: set(models) for key, models in REFUSED.items() if key[:2] == (toolchain, environment)}
    assert refused == listed


@pytest.mark.parametrize("toolchain", toolchains.names())
def test_every_route_was_tried(outcomes: Any, toolchain: str) -> None:
    tried = {route for start in STARTS for _, route in outcomes(toolchain, environment=start)}
    assert tried == set(toolchains.routes(toolchain))
