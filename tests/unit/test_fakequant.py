"""Fake quantization against an oracle that shares no code with it, and which layers of a target it is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.fakequant import Grid, grid_of, nearest, on_steps, steps_of
from edgekit.reference.quantize import fake_quantized, fake_quantized_to
from edgekit.scheme import Range
from edgekit.schemes import SCHEMES


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([4, 8]), st.sampled_from([None, 4, 8]), st.floats(1e-6, 1e6))
def test_it_is_what_the_oracle_says(seed: int, bits: int, group: int | None, size: float) -> None:
    weights = (np.random.default_rng(seed).standard_normal((5, 16)) * size).astype(np.float32)
    weights[1, :8] = 0
    found = nearest(weights.astype(np.float64), Grid(2 ** (bits - 1) - 1, group))
    assert np.array_equal(found.astype(np.float32), fake_quantized(weights, bits, group).astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_what_lies_on_the_grid_stays_where_it_is(bits: int) -> None:
    """So that a converter which takes the largest weight of a channel for its scale finds the same integers."""
    grid = Grid(2 ** (bits - 1) - 1)
    once = nearest(np.random.default_rng(0).standard_normal((9, 40)), grid).astype(np.float32)
    assert np.array_equal(nearest(once.astype(np.float64), grid).astype(np.float32), once)


def test_a_norm_behind_a_channel_may_be_folded_before_or_after() -> None:
    rng = np.random.default_rng(0)
    weights, factors = rng.standard_normal((6, 27)), rng.uniform(0.2, 5, (6, 1))
    assert np.allclose(nearest(weights * factors, Grid()), nearest(weights, Grid()) * factors, rtol=1e-6)


@pytest.mark.parametrize(
    ("precision", "kinds", "kind", "inputs", "channels", "grid"),
    [
        ("int4-dynamic", ("conv", "linear"), "conv", 144, 16, Grid(7)),
        ("int4-dynamic", ("conv", "linear"), "depthwise-conv", 9, 1, None),
        ("int4", (), "conv", 576, 64, Grid(7, 32 * 9)),
        ("int4", (), "linear", 48, 48, None),
        ("int8", (), "depthwise-conv", 9, 1, Grid(127)),
        ("int8-weights", (), "linear", 48, 48, Grid(127)),
    ],
)
def test_what_a_target_makes_of_a_layer(precision, kinds, kind, inputs, channels, grid):
    assert grid_of(SCHEMES[precision], kinds, kind, inputs, channels) == grid


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-1e3, 0), st.floats(1e-3, 1e3), st.booleans())
def test_activations_are_what_the_oracle_says(seed: int, low: float, high: float, symmetric: bool) -> None:
    one = Range("x", low, high, symmetric=symmetric)
    values = np.random.default_rng(seed).uniform(2 * low, 2 * high, 200)
    scale, zero, _, _ = steps_of(one)
    found = on_steps(values, one)
    assert np.array_equal(found, fake_quantized_to(values, scale, zero))
    assert found.max() <= max(high, -low) * 1.01 and on_steps(np.zeros(1), one)[0] == 0


def test_a_range_is_read_off_its_steps() -> None:
    for one in (Range("x", -1.5, 3.25), Range("x", 0.0, 6.0), Range("x", -2.0, 0.5)):
        again = Range.of_steps("x", one.scale, one.zero_point)
        assert np.isclose(again.scale, one.scale) and again.zero_point == one.zero_point
