"""What a file may cost."""

from __future__ import annotations

import pytest

from edgekit.conversion.budget import Budget
from edgekit.errors import UsageError
from edgekit.result.speed import Latency


def timed(ratio: float) -> Latency:
    return Latency(
        float_cpu_ms=1.0,
        artifact_cpu_ms=ratio,
        ratio=ratio,
        ratio_ci95=(ratio, ratio),
        noisy=False,
        blocks=5,
        runs_per_block=(9, 9),
        wall_over_cpu=1.0,
    )


@pytest.mark.parametrize(
    ("text", "most"), [("size=2MB", 2e6), ("size=1.5KiB", 1536), ("size=9B", 9), ("latency=0.6x", 0.6)]
)
def test_a_budget_is_read(text: str, most: float) -> None:
    assert (Budget.parse(text).most, Budget.parse(text).given) == (most, text)


@pytest.mark.parametrize("text", ["", "size", "size=2", "size=2mb", "size=-1MB", "size=0MB", "latency=0.6", "cost=1x"])
def test_another_text_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="--budget") as caught:
        Budget.parse(text)
    assert "size=2MB" in caught.value.hint and "latency=0.6x" in caught.value.hint


def test_the_nearest_word_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        Budget.parse("sise=2MB")
    assert caught.value.hint.startswith("Did you mean 'size'? ")


def test_what_is_too_much_is_said() -> None:
    assert Budget.parse("size=1kB").missed(1001, None) == "1001 bytes; the budget is size=1kB"
    assert Budget.parse("size=1kB").missed(1000, None) == ""
    assert Budget.parse("latency=0.6x").missed(1, timed(0.7)) == "0.70x the float time; the budget is latency=0.6x"
    assert Budget.parse("latency=0.6x").missed(1, timed(0.6)) == ""
    assert "was not measured" in Budget.parse("latency=0.6x").missed(1, None)
