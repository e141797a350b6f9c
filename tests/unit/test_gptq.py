"""GPTQ against what can be found by trying everything, and the grid that quantizers find again."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekit.compress.fakequant import Grid, nearest
from edgekit.compress.gptq import CLIPPED, rounded

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


@pytest.mark.parametrize("group", [None, 8, 12])
def test_outputs_are_closer_than_by_rounding_to_the_nearest(group: int | None) -> None:
    weights, x = RNG.standard_normal((12, 32)), inputs(32)
    hessian, grid = x.T @ x, Grid(group=group)
    found = rounded(weights, hessian, grid)
    assert is_on(found, grid.scales(found))
    assert error(weights, found, hessian) < 0.8 * error(weights, nearest(weights, grid), hessian)


@pytest.mark.parametrize("group", [None, 16, 24])
def test_a_quantizer_finds_the_same_grid_again(group: int | None) -> None:
    """The largest weight of each row or block is the largest integer, so that largest / 7 is the scale.

    The last block may be shorter than the others.
    """
    weights, x = RNG.standard_normal((20, 64)), inputs(64)
    grid = Grid(group=group)
    found = rounded(weights, x.T @ x, grid)
    clipped = (grid.scales(found) / grid.scales(weights))[:, :: group or 64]
    assert {round(float(part), 3) for part in clipped.ravel()} <= {1.0, *CLIPPED}, "a row's largest, or a part of it"
    assert np.ptp(clipped, axis=1).max() < 1e-6, "of all blocks of a row the same part"
    assert np.allclose(nearest(found, grid), found, atol=1e-7)


def test_a_layer_makes_good_what_those_before_it_lost() -> None:
    """Inputs that are now 10 % smaller and shifted between each other: outputs are as those of the float layer."""
    weights, x = RNG.standard_normal((12, 32)), inputs(32)
    changed = 0.9 * x + 0.05 * np.roll(x, 1, axis=1)
    hessian, crossed, grid = changed.T @ changed, x.T @ changed, Grid()

    def lost(found: np.ndarray) -> float:
        return float(((changed @ found.T - x @ weights.T) ** 2).sum())

    fitted = rounded(weights, hessian, grid, crossed)
    assert is_on(fitted, grid.scales(fitted))
    assert lost(fitted) < 0.7 * lost(rounded(weights, hessian, grid))
    assert np.array_equal(rounded(weights, hessian, grid, hessian), rounded(weights, hessian, grid)), "nothing was lost"
    assert np.isfinite(rounded(weights, 0 * hessian, grid, 0 * hessian)).all(), "nothing was seen"


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
        best = min(error(weights, row * scale * part, hessian) for row in allowed for part in (1, *CLIPPED))
        found = error(weights, rounded(weights, hessian, grid), hessian)
        assert found >= best * (1 - 1e-5), "scales are float32"
        excess.append(found / error(weights, nearest(weights, grid), hessian))
    assert np.median(excess) <= 1


def test_independent_inputs_leave_the_nearest() -> None:
    """Where no input can make good another's error, GPTQ is rounding, with large weights clipped where that pays."""
    weights = RNG.standard_normal((6, 16))
    found, scales = rounded(weights, np.eye(16) * 5.0, Grid()), Grid().scales(weights)
    kept = 0
    for row, scale, answer in zip(weights, scales, found, strict=True):
        tried = [np.clip(np.rint(row / (scale * part)), -7, 7) * scale * part for part in (1, *CLIPPED)]
        best = min(tried, key=lambda values, row=row: ((values - row) ** 2).sum())
        assert np.allclose(answer, best, atol=1e-6)
        kept += best is tried[0]
    assert 0 < kept < 6, "rows of both kinds"


def test_inputs_that_are_always_zero_and_rows_of_zeros() -> None:
    weights, x = RNG.standard_normal((4, 8)), inputs(8)
    x[:, 3], weights[2] = 0.0, 0.0
    found = rounded(weights, x.T @ x, Grid())
    assert np.isfinite(found).all()
    assert np.array_equal(found[2], np.zeros(8))
    assert np.allclose(found[:, 3], nearest(weights, Grid())[:, 3]) or is_on(found, Grid().scales(found))
    assert np.array_equal(rounded(weights, np.zeros((8, 8)), Grid()), nearest(weights, Grid())), "nothing was seen"
