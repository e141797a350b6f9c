"""Choices of the main path that need no runtime."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.candidate import Candidate, choose
from edgekit.pipeline import is_slow
from edgekit.result import LatencyFacts


def facts(verdict: Any, ratio: float, spread: float = 0.02) -> LatencyFacts:
    return LatencyFacts(
        float_cpu_ms=0.1, artifact_cpu_ms=0.1 * ratio, ratio=ratio, ratio_ci95=(ratio, ratio + spread), verdict=verdict,
        noisy=False, blocks=41, runs_per_block=(10, 10), wall_over_cpu=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "low", "slow"),
    [
        ("SLOWER", 1.06, True),
        ("SAME", 0.97, False),
        ("TOO_SMALL_TO_TELL", 1.2, False),  # quantizing the input of a tiny model takes that much
        ("TOO_SMALL_TO_TELL", 1.9, True),  # BERT with norms in int8
    ],
)
def test_other_routes_are_tried_where_the_artifact_is_slow(verdict: Any, low: float, slow: bool) -> None:
    assert is_slow(facts(verdict, low)) == slow


@pytest.mark.parametrize(
    ("ratios", "spread", "chosen"),
    [
        ({"first": 1.44, "second": 1.41, "third": 1.90}, 0.02, "first"),  # a tie: noise would choose in each run
        ({"first": 1.51, "second": 1.41, "third": 1.44}, 0.02, "second"),
        ({"first": 1.51, "second": 1.41, "third": 1.44}, 0.20, "first"),  # a busy machine: the intervals meet
    ],
)
def test_of_slow_routes_the_fastest_is_chosen_and_the_first_of_a_tie(
    ratios: dict[str, float], spread: float, chosen: str
) -> None:
    made = [Candidate(name, "PASS", latency=facts("SLOWER", ratio, spread)) for name, ratio in ratios.items()]
    found = choose(made)
    assert found is not None
    assert found.route == chosen


def test_a_stand_in_has_no_latency_to_judge() -> None:
    assert not is_slow(None)
