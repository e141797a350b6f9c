"""Comparing accuracies: the intervals hold the truth, and what they cannot say is said."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.bench.compare import scores
from edgekit.bench.compare.values import Limits
from edgekit.proof.accuracy import measure_accuracy
from edgekit.result import Accuracy


def one(samples: int = 1000, flips: tuple[int, int] | None = (10, 10), float_: float = 0.9, **more: object) -> Accuracy:
    """A file that is as accurate as its flips say."""
    drop = (flips[0] - flips[1]) / samples if flips else 0.0
    fields = {
        "metric": "top1", "higher_is_better": True, "samples": samples, "float_": float_, "checkpoint": float_,
        "artifact": float_ - drop, "drop": drop, "drop_ci95": (drop - 0.01, drop + 0.01), "agreement": None,
        "flips": flips, "split": "test", **more,
    }  # fmt: skip
    return Accuracy.model_validate(fields)


def files(rng: np.random.Generator, trials: int, n: int, old: float, new: float) -> tuple[np.ndarray, ...]:
    """Which samples the float model and two files of it get right, each file losing and winning some."""
    right = rng.random((trials, n)) < 0.9
    hard = rng.random((trials, n)) < 0.1  # both files lose the same samples more often than others
    sides = [np.where(rng.random((trials, n)) < np.where(hard, 5 * rate, rate), ~right, right) for rate in (old, new)]
    return right, *sides


def counts(right: np.ndarray, file: np.ndarray) -> tuple[int, int]:
    return int((right & ~file).sum()), int((~right & file).sum())


@pytest.mark.parametrize(("old", "new"), [(0.01, 0.01), (0.005, 0.02), (0.002, 0.05)])
def test_of_one_float_model_the_interval_holds_the_true_difference(old: float, new: float) -> None:
    rng = np.random.default_rng(5)
    truth = np.subtract(*[side.mean() for side in files(rng, 1, 2_000_000, old, new)[1:]])
    held, width, exact = [], [], []
    for right, before, after in zip(*files(rng, 500, 1000, old, new), strict=True):
        change = scores.between(one(flips=counts(right, before)), one(flips=counts(right, after)))
        assert isinstance(change, Accuracy)
        exact.append(change.drop == pytest.approx(before.mean() - after.mean(), abs=1e-12))
        low, high = change.drop_ci95
        held.append(low <= truth <= high)
        width.append(high - low)
    assert all(exact)
    assert np.mean(held) >= 0.94
    assert np.mean(width) < 0.06


def test_of_another_float_model_the_interval_holds_the_true_difference() -> None:
    rng, held = np.random.default_rng(6), []
    for _ in range(500):
        shared = rng.random(1000) < 0.7  # samples that both models find easy
        before, after = (np.where(shared, True, rng.random(1000) < share) for share in (0.6, 0.5))
        change = scores.between(
            one(float_=0.9, flips=(0, 0), artifact=float(before.mean())),
            one(float_=0.8, flips=(0, 0), artifact=float(after.mean())),
        )
        assert isinstance(change, Accuracy)
        held.append(change.drop_ci95[0] <= 0.3 * 0.1 <= change.drop_ci95[1])
    assert np.mean(held) >= 0.95


@pytest.mark.parametrize("draws", [150, pytest.param(400, marks=pytest.mark.nightly)])
def test_of_another_metric_two_paired_intervals_are_added(draws: int) -> None:
    """Mean absolute errors of two files of one model, whose errors on a sample share its difficulty."""
    rng, held, n = np.random.default_rng(8), [], 150

    def drawn(count: int) -> tuple[np.ndarray, ...]:
        labels = rng.normal(size=(count, 4))
        hard = rng.gamma(2.0, size=(count, 1))
        model = labels + 0.1 * hard * rng.normal(size=labels.shape)
        return labels, model, *(model + rate * hard * rng.normal(size=labels.shape) for rate in (0.02, 0.06))

    def scored(labels: np.ndarray, model: np.ndarray, file: np.ndarray) -> Accuracy:
        return measure_accuracy("mae", [(labels, model, file)])

    labels, model, *both = drawn(300_000)
    errors = [np.abs(side - labels).mean() for side in (model, *both)]
    truth = (errors[2] - errors[1]) / errors[0]
    for _ in range(draws):
        labels, model, old, new = drawn(n)
        change = scores.between(scored(labels, model, old), scored(labels, model, new))
        assert isinstance(change, Accuracy)
        held.append(change.drop_ci95[0] <= truth <= change.drop_ci95[1])
    assert np.mean(held) >= 0.93


def test_a_loss_is_found_and_equal_files_are_the_same() -> None:
    lost = scores.compare(one(flips=(5, 5)), one(flips=(45, 5)), Limits())
    assert (lost.verdict, lost.n, lost.limit) == ("WORSE", 1000, 0.01)
    assert lost.change == pytest.approx(0.04)
    assert scores.compare(one(flips=(5, 5)), one(flips=(45, 5)), Limits(drop=0.05)).verdict == "SAME"
    assert scores.compare(one(flips=(45, 5)), one(flips=(5, 5)), Limits()).verdict == "BETTER"
    assert scores.compare(one(), one(), Limits()).verdict == "SAME"


def test_too_few_samples_are_undecided_and_say_how_many_would_do() -> None:
    found = scores.compare(one(100, (2, 1)), one(100, (4, 1)), Limits())
    assert found.verdict == "UNDECIDED"
    assert "labelled samples would decide" in found.reason
    assert scores.compare(one(100, (2, 1)), one(100, (2, 1)), Limits(), one_file=True).verdict == "SAME"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (None, one(), "accuracy of OLD was not measured: there are no labels"),
        (None, None, "OLD and NEW"),
        (one(metric="miou", flips=None), one(), "OLD is scored by miou"),
        (one(1000), one(900), "other samples: 1000 test samples and 900"),
        (one(split="selection"), one(), "other samples"),
        (one(metric="miou", flips=None), one(metric="miou", flips=None, float_=0.8), "miou is no proportion"),
    ],
)
def test_what_cannot_be_compared_says_why(old: Accuracy | None, new: Accuracy | None, reason: str) -> None:
    found = scores.compare(old, new, Limits())
    assert found.verdict == "NOT_COMPARED"
    assert reason in found.reason


def test_counts_that_no_samples_can_hold_are_brought_to_what_they_can() -> None:
    """Every second sample flips in each: together more than there are."""
    change = scores.between(one(100, (50, 5), 0.55), one(100, (10, 45), 0.55))
    assert isinstance(change, Accuracy)
    assert change.drop == pytest.approx(-0.8)
    assert change.drop_ci95[0] <= -0.8 <= change.drop_ci95[1]
