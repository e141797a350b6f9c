"""Choices of the main path that need no runtime."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.pipeline import is_slow
from edgekit.result import LatencyFacts


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
    facts = LatencyFacts(
        float_cpu_ms=0.1, artifact_cpu_ms=0.1 * low, ratio=low, ratio_ci95=(low, low + 0.1), verdict=verdict,
        noisy=False, blocks=41, runs_per_block=(10, 10), wall_over_cpu=1.0,
    )  # fmt: skip
    assert is_slow(facts) == slow


def test_a_stand_in_has_no_latency_to_judge() -> None:
    assert not is_slow(None)
