"""Symmetric int4 in blocks: what lies on a grid stays there, and plain weights get the closest of five grids."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.toolchains._shared.int4 import ENDS, packed, symmetric

F = np.float32


def restored(values: np.ndarray, group: int, **given: object) -> np.ndarray:
    integers, scales = symmetric(values, group, **given)  # type: ignore[arg-type]
    whole = (integers * scales[..., None]).reshape(*values.shape[:-1], -1)
    return whole[..., : values.shape[-1]]  # type: ignore[no-any-return]


@pytest.mark.parametrize("reached", range(1, 8))
def test_weights_on_a_symmetric_grid_stay_where_they_are(reached: int) -> None:
    """Also in a block that does not reach the grid's end, as where the grid is that of a whole channel."""
    rng = np.random.default_rng(reached)
    integers = rng.integers(-reached, reached + 1, (40, 3, 32))
    integers[..., 0] = rng.choice([-reached, reached], (40, 3))
    values = (integers * rng.uniform(0.01, 2, (40, 3, 1))).astype(F).reshape(40, 96)
    assert np.abs(restored(values, 32) - values).max() <= 2e-7 * np.abs(values).max()


def test_other_weights_are_closer_than_on_any_grid_alone() -> None:
    values = np.random.default_rng(0).normal(size=(500, 32)).astype(F)
    errors = {ends: np.square(restored(values, 32, ends=ends) - values).sum() for ends in [(e,) for e in ENDS]}
    chosen = np.square(restored(values, 32) - values).sum()
    assert chosen < min(errors.values())
    assert 10 * np.log10(errors[7,] / chosen) > 1  # what the docstring says that -8 is worth
    largest = np.abs(values).max(1, keepdims=True)
    assert (np.abs(restored(values, 32) - values) <= largest / 7 + 1e-6).all()


def test_a_last_block_of_fewer_and_a_block_of_zeros() -> None:
    values = np.zeros((2, 40), F)
    values[0, 32:] = [7, -7, 1, 2, 3, -4, 5, 6]
    integers, scales = symmetric(values, 32)
    assert integers.shape == (2, 2, 32) and scales.shape == (2, 2)
    assert integers[0, 1].tolist() == [7, -7, 1, 2, 3, -4, 5, 6, *[0] * 24]
    assert not integers[0, 0].any() and not integers[1].any() and np.isfinite(scales).all()
    assert np.array_equal(restored(values, 32), values)


def test_the_first_of_two_numbers_lies_in_the_lower_half_of_a_byte() -> None:
    assert packed(np.array([[1, -1, -8, 7]], np.int8)).tolist() == [[0xF1, 0x78]]
