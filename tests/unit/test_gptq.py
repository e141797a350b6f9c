"""GPTQ against what can be found by trying everything, and the grid that quantizers find again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekit.compress.gptq import Grid, nearest, rounded

RNG = np.random.default_rng(0)


def inputs(features: int, samples: int = 400) -> np.ndarray:
    """Correlated, as activations are: rounding one weight can be made good by another."""
    return RNG.standard_normal((samples, features)) @ RNG.standard_normal((features, features))


def error(weights: np.ndarray, found: np.ndarray, hessian: np.ndarray) -> float:
    """Squared error of the outputs, summed over samples and rows."""
    return float(np.trace((found - weights) @ hessian @ (found - weights).T))


def is_on(found: np.ndarray, scales: np.ndarray) -> bool:
    steps = found / scales
    return bool(np.allclose(steps, np.rint(steps), atol=1e-6) and np.abs(np.rint(steps)).max() <= 7)


@pytest.mark.parametrize("group", [None, 8])
def test_outputs_are_closer_than_by_rounding_to_the_nearest(group: int | None) -> None:
    weights, x = RNG.standard_normal((12, 32)), inputs(32)
    hessian, grid = x.T @ x, Grid(group=group)
    found = rounded(weights, hessian, grid)
    assert is_on(found, grid.scales(weights))
    assert error(weights, found, hessian) < 0.8 * error(weights, nearest(weights, grid), hessian)


@pytest.mark.parametrize("group", [None, 16])
def test_a_quantizer_finds_the_same_grid_again(group: int | None) -> None:
    """The largest weight of each row or block is where it was, so that largest / 7 is the same scale."""
    weights, x = RNG.standard_normal((20, 64)), inputs(64)
    grid = Grid(group=group)
    found = rounded(weights, x.T @ x, grid)
    assert np.array_equal(grid.scales(found), grid.scales(weights))
    assert np.allclose(nearest(found, grid), found, atol=1e-7)


def test_against_all_that_could_be_chosen() -> None:
    """Four inputs, levels -3 to 3: 7 ** 3 rows, the largest weight being given. GPTQ is greedy: near the best."""
    excess = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((50, 4)) @ rng.standard_normal((4, 4))
        weights, hessian, grid = rng.standard_normal((1, 4)), x.T @ x, Grid(largest=3)
        scale = grid.scales(weights)
        largest = int(np.abs(weights).argmax())
        rows = [np.array(row) for row in itertools.product(range(-3, 4), repeat=4)]
        allowed = [row for row in rows if row[largest] == 3 * np.sign(weights[0, largest])]
        best = min(error(weights, row * scale, hessian) for row in allowed)
        found = error(weights, rounded(weights, hessian, grid), hessian)
        assert found >= best - 1e-9
        excess.append(found / error(weights, nearest(weights, grid), hessian))
    assert np.median(excess) <= 1


def test_independent_inputs_leave_the_nearest() -> None:
    """Where no input can make good another's error, GPTQ is rounding."""
    weights = RNG.standard_normal((6, 16))
    assert np.array_equal(rounded(weights, np.eye(16) * 5.0, Grid()), nearest(weights, Grid()))


def test_inputs_that_are_always_zero_and_rows_of_zeros() -> None:
    weights, x = RNG.standard_normal((4, 8)), inputs(8)
    x[:, 3], weights[2] = 0.0, 0.0
    found = rounded(weights, x.T @ x, Grid())
    assert np.isfinite(found).all()
    assert np.array_equal(found[2], np.zeros(8))
    assert np.allclose(found[:, 3], nearest(weights, Grid())[:, 3]) or is_on(found, Grid().scales(weights))
    assert np.array_equal(rounded(weights, np.zeros((8, 8)), Grid()), nearest(weights, Grid())), "nothing was seen"
