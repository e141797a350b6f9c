"""Symmetric int8 against its definition, written out value by value."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekit.toolchains._shared.int8 import symmetric

F = np.float32


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((5, 3, 2, 2), (1, 2, 3)), ((5, 3, 2, 2), (0, 2, 3)), ((2, 7, 9), -1), ((4, 6), (0, 1)), ((8,), 0)],
)
def test_one_scale_for_all_values_along_the_axes(shape: tuple[int, ...], axes: int | tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(F) * F(3)
    values[0] = 0  # a channel of zeros
    integers, scale = symmetric(values, axes)
    reduced = {a % len(shape) for a in ((axes,) if isinstance(axes, int) else axes)}
    assert (integers.dtype, scale.dtype) == (np.int8, F)
    assert scale.shape == tuple(1 if a in reduced else n for a, n in enumerate(shape))
    for place in itertools.product(*map(range, shape)):
        channel = tuple(slice(None) if a in reduced else i for a, i in enumerate(place))
        top = F(max(abs(float(v)) for v in values[channel].ravel()))
        step = F(top or np.finfo(F).tiny) / F(127)
        assert scale[tuple(0 if a in reduced else i for a, i in enumerate(place))] == step
        assert integers[place] == min(max(round(float(values[place] / step)), -127), 127)  # half to even, as rint


def test_halves_go_to_even_and_a_value_and_its_opposite_cost_the_same() -> None:
    integers, scale = symmetric(np.array([127, -127, 0.5, -0.5, 1.5, -1.5, 2.5], F), 0)
    assert scale == 1
    assert integers.tolist() == [127, -127, 0, 0, 2, -2, 2]


def test_nothing_is_off_by_more_than_half_a_step() -> None:
    values = np.random.default_rng(1).normal(size=(16, 300)).astype(F)
    integers, scale = symmetric(values, 1)
    assert np.abs(integers * scale - values).max() <= scale.max() * 0.5001
    assert (np.abs(integers).max(axis=1) == 127).all()
