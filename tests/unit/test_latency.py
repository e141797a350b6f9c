"""Latency by a clock that the test turns: nothing here depends on the machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekit.proof import latency


class Clock:
    """CPU and wall time; calls take as long as they say, the machine lets them wait as long again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wait: float = 1.0) -> None:
        self.cpu = self.wall = 0.0
        self.wait = wait
        self.calls: list[str] = []
        monkeypatch.setattr(latency, "cpu_seconds", lambda: self.cpu)
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.wall)

    def takes(self, name: str, milliseconds: float) -> Callable[[], None]:
        def invoke() -> None:
            self.calls.append(name)
            self.cpu += milliseconds / 1e3
            self.wall += self.wait * milliseconds / 1e3

        return invoke


@pytest.mark.parametrize(("float_ms", "ours_ms"), [(1.0, 0.5), (1.0, 1.02), (0.1, 1.0)])
def test_times_and_their_ratio(monkeypatch: pytest.MonkeyPatch, float_ms: float, ours_ms: float) -> None:
    clock = Clock(monkeypatch, wait=2.0)
    found = latency.measure(clock.takes("float", float_ms), clock.takes("ours", ours_ms))
    assert (found.float_cpu_ms, found.artifact_cpu_ms) == pytest.approx((float_ms, ours_ms))
    assert found.ratio_ci95 == pytest.approx((found.ratio, found.ratio))
    assert found.ratio == pytest.approx(ours_ms / float_ms)
    assert found.wall_over_cpu == pytest.approx(2.0)  # the machine was busy, and it does not count
    assert (found.blocks, found.noisy) == (41, False)
    assert found.runs_per_block == tuple(max(1, round(8 / ms)) for ms in (float_ms, ours_ms))


def test_turns_alternate_so_that_neither_is_always_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    latency.measure(clock.takes("f", 10), clock.takes("o", 10), blocks=11)
    assert "".join(clock.calls[-22:]) == "fo" + "offo" * 5


@pytest.mark.parametrize(("milliseconds", "blocks"), [(200, 41), (500, 30), (2500, latency.FEWEST_BLOCKS)])
def test_slow_models_get_fewer_blocks_and_a_short_warm_up(
    monkeypatch: pytest.MonkeyPatch, milliseconds: float, blocks: int
) -> None:
    clock = Clock(monkeypatch)
    found = latency.measure(clock.takes("f", milliseconds), clock.takes("o", milliseconds))
    assert (found.blocks, found.runs_per_block) == (blocks, (1, 1))
    assert len(clock.calls) - 2 * blocks <= 2 * min(6, 1 + 1000 / milliseconds)


def test_an_unsteady_file_is_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = iter(range(10_000))

    def unsteady() -> None:
        clock.takes("o", 10 if next(times) % 3 else 20)()

    found = latency.measure(clock.takes("f", 10), unsteady)
    assert found.noisy
    assert found.ratio_ci95[0] <= found.ratio <= found.ratio_ci95[1]
