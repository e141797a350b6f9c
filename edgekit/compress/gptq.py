"""GPTQ: rounding weights one input after another, each error made good by the inputs that are still to come.

Frantar, Ashkboos, Hoefler & Alistarh, *GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers*, ICLR 2023: the solution of equations (2) and (3) by a Cholesky factor of the inverse Hessian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.compress.fakequant import Floats, Grid

#: Part of the mean of the Hessian's diagonal that is added to it, as in the paper (section 3.3).
DAMPING = 0.01
#: Parts of a row's largest weight at which its larger ones are tried clipped.
CLIPPED = (0.9, 0.8, 0.7)


def rounded(weights: Floats, hessian: Floats, grid: Grid, crossed: Floats | None = None) -> Floats:
    """Weights on the grid whose outputs are as close as rounding one after another makes them.

    The outputs that count are those of the model as it was: where ``crossed`` says what the inputs were then, the
    weights are first fitted to give them from the inputs as they are. So a layer makes good what those before it lost
    (the aim of Li et al., *GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration*, ICML 2025).
    Each row is also tried with its largest weights clipped, which makes its steps finer, and stays so where its outputs
    come out closer by it.

    Args:
        weights: ``(rows, inputs)``, in float64.
        hessian: ``(inputs, inputs)``: the sum of ``x x^T`` over the layer's inputs.
        grid: what they become.
        crossed: ``(inputs, inputs)``: the sum of ``y x^T``, where ``y`` is what ``x`` was before other layers changed.

    The largest weight of each row or block stays the largest integer: a quantizer that takes its scale from what it is
    given finds the same grid again. A weight that is zero was pruned and stays so; what would have become of it is made
    good like any error (Frantar & Alistarh, *SparseGPT*, ICML 2023, with a mask that is given).
    """
    pruned = weights == 0
    if crossed is not None:
        damping = DAMPING * np.diag(hessian).mean() * np.eye(len(hessian))
        if damping.any():  # else nothing was seen
            weights = weights @ np.linalg.solve((hessian + damping).T, (crossed + damping).T).T
    largest = grid.scales(np.where(pruned, 0, weights))
    found = _one_after_another(weights, hessian, grid, largest, pruned)
    error = _errors(found - weights, hessian)
    for clipped in CLIPPED:
        scales = (largest * clipped).astype(np.float32).astype(np.float64)
        other = _one_after_another(weights, hessian, grid, scales, pruned)
        others = _errors(other - weights, hessian)
        found = np.where((others < error)[:, None], other, found)
        error = np.minimum(others, error)
    return found


def _errors(difference: Floats, hessian: Floats) -> Floats:
    """Of each row the squared error of its outputs, summed over samples."""
    return np.asarray(((difference @ hessian) * difference).sum(axis=1))


def _one_after_another(
    weights: Floats, hessian: Floats, grid: Grid, scales: Floats, pruned: NDArray[np.bool_]
) -> Floats:
    weights, pinned = weights.copy(), _pinned(np.where(pruned, 0, weights), grid)
    inputs = weights.shape[1]
    unused = np.diag(hessian) == 0
    hessian = hessian + np.diag(np.where(unused, 1.0, 0.0))
    order = np.argsort(-np.diag(hessian), kind="stable")  # inputs of the most energy while there is most left to mend
    damped = hessian[np.ix_(order, order)] + DAMPING * np.diag(hessian).mean() * np.eye(inputs)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T  # upper: inverse = factor^T factor
    weights, scales, pinned, pruned = weights[:, order], scales[:, order], pinned[:, order], pruned[:, order]
    done = np.empty_like(weights)
    for i in range(inputs):
        integers = np.clip(np.rint(weights[:, i] / scales[:, i]), -grid.largest, grid.largest)
        integers = np.where(pinned[:, i] != 0, pinned[:, i] * grid.largest, integers)
        integers = np.where(pruned[:, i], 0, integers)
        done[:, i] = integers * scales[:, i]
        error = (weights[:, i] - done[:, i]) / factor[i, i]
        weights[:, i + 1 :] -= np.outer(error, factor[i, i + 1 :])
    back = np.empty_like(done)
    back[:, order] = done
    return back


def _pinned(weights: Floats, grid: Grid) -> Floats:
    """Where the largest magnitude of each row or block lies, by its sign; 0 elsewhere."""
    rows, inputs = weights.shape
    blocks = grid.blocks(weights)
    at = np.abs(blocks).argmax(axis=2)[..., None]
    found = np.zeros_like(blocks)
    np.put_along_axis(found, at, np.sign(np.take_along_axis(blocks, at, axis=2)), axis=2)
    return found.reshape(rows, -1)[:, :inputs]
