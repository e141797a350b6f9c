"""Which layers mixed precision keeps higher: the search alone, over files that are judged by what is kept in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgekit.conversion import mixed, trying
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.order import Order
from edgekit.conversion.plan import PlannedRoute
from edgekit.conversion.sensitivity import Cost, Sensitivity

#: The costliest first: one of half the MACs, many small ones, and a last one of nearly the other half.
SIZES = {"wide": 5000, **{f"small{i}": 50 for i in range(12)}, "table": 0, "last": 4400}


def cost(name: str, macs: int) -> Cost:
    return Cost(names=(name,), part="model", kind="linear", macs=macs, sqnr_db=20, variation_db=20, drop=0)


COSTS = [cost(name, macs) for name, macs in SIZES.items()]


class Search:
    """A search by one route whose file passes when ``mends`` says so of the layers that stay in float."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mends: Callable[[set[str]], bool]) -> None:
        self.tried: list[list[str]] = []

        def try_route(run: Any, trial: Any, planned: Any, route: Any) -> Candidate:
            self.tried.append([rule.name for rule in trial.order.rules])
            passes = mends(set(self.tried[-1]))
            return Candidate(route.name, "PASS" if passes else "FAIL_ACCURACY", "" if passes else "it loses")

        def time_against_twin(run: Any, trial: Any, made: Candidate) -> Candidate:
            return made

        monkeypatch.setattr(trying, "try_route", try_route)
        monkeypatch.setattr(trying, "time_against_twin", time_against_twin)

    def run(self, costs: list[Cost]) -> Candidate:
        any_ = cast(Any, None)
        trial = trying.Trial(Order(any_, any_, any_), any_, any_, any_)
        found = cast(Sensitivity, SimpleNamespace(layers=tuple(costs)))
        return mixed.fewest(any_, trial, any_, PlannedRoute("route", "torch", None), found, "float")


@pytest.mark.parametrize("needed", range(1, 11))
def test_an_answer_within_a_twentieth_comes_before_a_wider_one(monkeypatch: Any, needed: int) -> None:
    """Keeping the one wide layer would be fewer layers; it is half of the model."""
    search = Search(monkeypatch, lambda kept: len(kept & set(SIZES)) >= needed or "wide" in kept)
    assert search.run(COSTS).status == "PASS"
    assert sum(SIZES[name] for name in search.tried[0]) <= mixed.SHARES[0] * sum(SIZES.values())
    kept = [f"small{i}" for i in range(needed)]
    assert kept in search.tried, "the costliest that fit, and no more than it takes"
    assert not any("wide" in names for names in search.tried)
    assert len(search.tried) == len({tuple(names) for names in search.tried}) <= 6, "by halving, each file once"


def test_where_a_twentieth_does_not_mend_it_half_of_the_model_may_stay_higher(monkeypatch: Any) -> None:
    search = Search(monkeypatch, lambda kept: "wide" in kept)
    assert search.run(COSTS).status == "PASS"
    assert search.tried[-1] == ["wide"], "and then it alone is enough"
    assert [f"small{i}" for i in range(10)] + ["table"] == search.tried[0]


def test_what_nothing_mends_says_how_many_layers_were_kept(monkeypatch: Any) -> None:
    made = Search(monkeypatch, lambda kept: False).run(COSTS)
    assert made.status == "FAIL_ACCURACY"
    assert made.reason == "with the 11 costliest layers in float still: it loses"


def test_not_all_layers_are_kept_and_none_that_is_more_than_half(monkeypatch: Any) -> None:
    assert mixed.within([cost("a", 0), cost("b", 0)], 0.5) == (cost("a", 0),)
    made = Search(monkeypatch, lambda kept: True).run([cost("a", 90), cost("b", 60)])
    assert "with" not in made.reason and made.status == "PASS"
    made = Search(monkeypatch, lambda kept: True).run([cost("a", 90)])
    assert (made.status, made.reason) == ("FAILED", "each of its layers has more than 50% of the MACs")


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (("node_MatMul_11/MatMulAddFusion", "node_MatMul_11", "val_12", "blocks.0.qkv", "val"), "blocks.0.qkv"),
        (("node_MatMul_11", "val_12", "node_MatMul", "val"), "node_MatMul_11"),
        (("node_linear_8", "head", "node_linear"), "head"),
        (("net/conv_bn_1/add;net/conv_1/convolution", "conv_bn_1", "conv_1"), "conv_bn_1"),
        (("fc",), "fc"),
    ],
)
def test_a_layer_is_called_as_in_the_source_and_not_by_an_exporters_number(names: tuple[str, ...], called: str) -> None:
    assert replace(cost("", 1), names=names).called == called
