"""Metrics that are figures of a whole set: against independent computations, in blocks, and how well intervals hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve
from sklearn.neighbors import NearestNeighbors

from edgekit.errors import UsageError
from edgekit.proof.accuracy import drop_interval, measure_accuracy
from edgekit.proof.intervals import Change, OfMeans, OfWeights, bca_interval
from edgekit.proof.metrics import metric


def value(name: str, labels: np.ndarray, output: np.ndarray) -> float:
    read = metric(name).read({"y": output}, labels)
    return measure_accuracy(name, [(labels, read, read)]).float_


def equal_errors(labels: np.ndarray, scores: np.ndarray) -> float:
    """By scikit-learn's curve and a root finder."""
    wrong, right, _ = roc_curve(labels, scores, drop_intermediate=False)
    return float(brentq(lambda x: 1 - x - interp1d(wrong, right)(x), 0.0, 1.0))


@pytest.mark.parametrize("decimals", [0, 1, 9], ids=["many-ties", "some-ties", "none"])
@pytest.mark.parametrize("positive", [0.5, 0.1])
def test_eer_is_where_scikit_learns_curve_crosses_the_diagonal(decimals: int, positive: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = (rng.random(200) < positive).astype(int)
        scores = np.round(1.5 * labels + rng.normal(size=200), decimals)
        assert value("eer", labels, scores[:, None]) == pytest.approx(equal_errors(labels, scores), abs=1e-9)
        two = np.stack([-scores, scores], axis=1)
        assert value("eer", labels, two) == pytest.approx(equal_errors(labels, scores), abs=1e-9)


def test_eer_of_right_reversed_constant_and_broken_scores() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    assert value("eer", labels, labels * 1.0) == 0.0
    assert value("eer", labels, -labels * 1.0) == 1.0
    accuracy = measure_accuracy("eer", [(labels, labels * 1.0, np.full(5, np.nan))])
    assert (accuracy.artifact, accuracy.drop, accuracy.trivial) == (0.5, 0.5, 0.5)
    with pytest.raises(UsageError, match="eer needs samples of both classes"):
        value("eer", np.ones(5, int), labels * 1.0)


def test_eer_of_weighted_and_of_left_out_samples() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 40)
    scores = np.round(labels + rng.normal(size=40), 1)
    figure = metric("eer").statistic(metric("eer").score(labels, scores))
    weights = rng.integers(0, 3, size=(5, 40)).astype(float)
    again = [np.repeat(np.arange(40), row.astype(int)) for row in weights]
    expected = [equal_errors(labels[rows], scores[rows]) for rows in again]
    np.testing.assert_allclose(figure.resampled(weights), expected, atol=1e-9)
    left = [equal_errors(np.delete(labels, i), np.delete(scores, i)) for i in range(40)]
    np.testing.assert_allclose(figure.left_out(), left, atol=1e-9)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_is_that_of_scikit_learns_neighbours(k: int) -> None:
    rng = np.random.default_rng(k)
    labels = rng.integers(0, 40, 700)
    embeddings = np.eye(40)[labels] + 0.3 * rng.normal(size=(700, 40))
    model = NearestNeighbors(n_neighbors=k + 1, metric="cosine", algorithm="brute").fit(embeddings)
    nearest = model.kneighbors(embeddings, return_distance=False)
    hits = [labels[i] in labels[[j for j in row if j != i][:k]] for i, row in enumerate(nearest)]
    assert 0.1 < np.mean(hits) < 0.99
    assert value(f"recall@{k}", labels, embeddings) == pytest.approx(np.mean(hits))


def test_recall_counts_ties_and_broken_answers_as_nothing_found_and_judges_them_as_a_share() -> None:
    labels = np.repeat(np.arange(30), 4)
    right, broken = np.eye(30)[labels], np.eye(30)[labels]
    broken[7] = np.nan
    for output in (np.ones((120, 30)), np.zeros((120, 30)), np.full((120, 30), np.nan)):
        accuracy = measure_accuracy("recall@1", [(labels, right, output)])
        assert (accuracy.float_, accuracy.artifact, accuracy.flips) == (1.0, 0.0, (120, 0))
    accuracy = measure_accuracy("recall@1", [(labels, right, broken)])
    assert accuracy.flips == (1, 0), "its three fellows find each other"
    assert accuracy.trivial == pytest.approx(1 / 30)
    assert value("recall@1", labels, 1e200 * right) == 1.0
    alone = np.concatenate([labels, [99]])
    assert value("recall@1", alone, np.concatenate([right, np.ones((1, 30))])) == pytest.approx(120 / 121)
    with pytest.raises(UsageError, match="no class has two"):
        value("recall@1", np.arange(5), np.eye(5))


def distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """The recursion that defines it."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))


def padded(rows: list[tuple[int, ...]]) -> np.ndarray:
    width = max(map(len, rows))
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows])


def test_wer_worked_out_by_hand() -> None:
    """The cat sat (down): an insertion. On the mat, in mat: a replacement and a deletion. Yes, nothing: a deletion."""
    the, cat, sat, down, on, mat, yes, in_ = range(8)
    references = padded([(the, cat, sat), (on, the, mat), (yes,)])
    found = padded([(the, cat, sat, down), (in_, mat), ()])
    assert value("wer", references, found) == pytest.approx((1 + 2 + 1) / 7)
    rates = (1 / 3 + 2 / 3 + 1) / 3
    assert value("wer", references, found) != pytest.approx(rates), "a corpus, not the mean of its samples"
    assert value("wer", references, references.astype(np.float32)) == 0.0
    assert value("wer", references, padded([(1,) * 9] * 3)) > 1, "more errors than there are words"
    assert value("wer", np.array([5, 6, 7]), np.array([[5], [6], [1]])) == pytest.approx(1 / 3)


def test_edits_are_those_of_the_recursion() -> None:
    rng = np.random.default_rng(0)
    draw = lambda: [tuple(rng.integers(0, 3, rng.integers(0, 7))) for _ in range(60)]  # noqa: E731
    references, found = draw(), draw()
    expected = sum(map(distance, found, references)) / sum(map(len, references))
    assert value("wer", padded(references), padded(found)) == pytest.approx(expected)


def test_ctc_merges_neighbours_and_leaves_out_the_blank() -> None:
    """A blank between equal tokens keeps them apart."""
    steps = np.array([[1, 1, 0, 1, 2, 2, 0, 0]])
    assert value("wer_ctc", np.array([[1, 1, 2]]), np.eye(3)[steps]) == 0.0
    assert value("wer_ctc", np.array([[1, 2, -1]]), np.eye(3)[steps]) == pytest.approx(1 / 2)
    assert value("wer_ctc_last", np.array([[0, 0, 1]]), np.eye(3)[(steps + 2) % 3]) == 0.0
    logits = np.eye(3)[steps]
    logits[0, 3] = np.nan
    broken = measure_accuracy("wer_ctc", [(np.array([[1, 1, 2]]), np.eye(3)[steps], logits)])
    assert broken.artifact == pytest.approx(1 / 3), "one token is not said"


@pytest.mark.parametrize(
    ("name", "labels", "output", "says"),
    [
        ("wer", np.array([[0.5]]), np.array([[1]]), "float64"),
        ("wer", np.array([[-1], [-1]]), np.array([[1], [2]]), "all of them are empty"),
        ("wer", np.array([[1]]), np.zeros((1, 2, 3)), r"shape \(1, 2, 3\)"),
        ("wer", np.array([[1]]), np.array([[0.5]]), "not whole"),
        ("wer_ctc", np.array([[0]]), np.zeros((1, 2, 3)), "from 0 to 2 without 0"),
        ("wer_ctc", np.array([[3]]), np.zeros((1, 2, 3)), "the labels hold 3"),
        ("wer_ctc_last", np.array([[2]]), np.zeros((1, 2, 3)), "without 2"),
        ("wer_ctc", np.array([[1]]), np.array([[1]]), "per step and token"),
        ("recall@1", np.zeros((4, 2), int), np.zeros((4, 2)), "one class number per sample"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, labels: np.ndarray, output: np.ndarray, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        value(name, labels, output)


Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def verification(rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of pairs, a third of which are of one speaker; the file's are a little noisier."""
    labels = (rng.random(samples) < 1 / 3).astype(int)
    scores = 2.0 * labels + rng.normal(size=samples)
    return labels, scores, scores + 0.5 * rng.normal(size=samples)


def retrieval(rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = rng.integers(0, 10, samples)
    embeddings = np.eye(10)[labels] + 0.4 * rng.normal(size=(samples, 10))
    return labels, embeddings, embeddings + 0.2 * rng.normal(size=embeddings.shape)


def speech(rng: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """References of 1 to 12 words; samples differ in how hard they are, and the file errs on top of the model."""
    labels = rng.integers(0, 30, (samples, 12))
    labels[np.arange(12) >= rng.integers(1, 13, samples)[:, None]] = -1
    wrong = rng.random(labels.shape) < rng.beta(0.5, 5.0, samples)[:, None]
    found = np.where(wrong & (labels >= 0), 30, labels)
    return labels, found, np.where((rng.random(labels.shape) < 0.03) & (labels >= 0), 31, found)


@pytest.mark.parametrize(
    ("name", "draw", "samples"),
    [("auc", verification, 200), ("eer", verification, 200), ("wer", speech, 150)],
)
def test_intervals_of_a_drop_hold_the_truth(name: str, draw: Draw, samples: int) -> None:
    """240 sets drawn from 20000 samples, whose drop is the truth: 0.95 has a standard error of 0.014.

    The interval of EER, whose steps are coarse in small sets, may be a little wide.
    """
    chosen, trials = metric(name), 240
    labels, *sides = draw(np.random.default_rng(10**6), 20_000)
    before, after = (chosen.gathered([chosen.score(labels, side)]) for side in sides)
    truth = float(chosen.drop(np.asarray(chosen.value(before)), np.asarray(chosen.value(after))))
    assert truth > 0.005
    bounds = []
    for trial in range(trials):
        rows = np.random.default_rng(trial).integers(0, len(labels), samples)
        change = Change(chosen.statistic(before[rows]), chosen.statistic(after[rows]), chosen.drop)
        bounds.append(bca_interval(change, replicates=400, seed=trial))
    low, high = np.array(bounds).T
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.95 - 4 * 0.014 <= covered <= 0.995
    # What the gate relies on. BCa is a little optimistic there in sets of this size: 0.046 of 480 for AUC.
    assert (truth > high).mean() <= 0.025 + 4 * 0.010


def test_the_interval_of_recall_holds_what_new_queries_to_the_same_collection_give() -> None:
    """Of 240 sets of 300 queries each, to 3000 samples."""
    chosen, trials = metric("recall@1"), 240
    labels, *sides = retrieval(np.random.default_rng(10**6), 3000)
    before, after = (chosen.gathered([chosen.score(labels, side)]) for side in sides)
    truth, held = float((before - after).mean()), 0
    for trial in range(trials):
        rows = np.random.default_rng(trial).integers(0, len(labels), 300)
        old, new = before[rows], after[rows]
        low, high = drop_interval(chosen, old, new, (int((old > new).sum()), int((old < new).sum())))
        held += low <= truth <= high
    assert truth > 0.01
    assert 0.95 - 4 * 0.014 <= held / trials <= 0.995


@pytest.mark.parametrize("name", ["auc", "eer", "recall@1", "wer", "r2"])
def test_samples_may_come_one_at_a_time(name: str) -> None:
    """What labels must be together is asked of all of them, not of each block: a block may hold one class alone."""
    if name == "r2":
        labels = np.linspace(0, 1, 20)
        good, bad = labels + 0.01, labels + 0.1 * np.sin(9 * labels)
    else:
        draw = {"wer": speech, "recall@1": retrieval}.get(name, verification)
        labels, good, bad = draw(np.random.default_rng(3), 40)
    whole = measure_accuracy(name, [(labels, good, bad)])
    blocks = [tuple(a[i : i + 1] for a in (labels, good, bad)) for i in range(len(labels))]
    assert measure_accuracy(name, blocks) == whole


def test_any_figure_has_an_interval_and_large_sets_leave_out_groups() -> None:
    """A mean by weights has that of a mean; of more samples than groups the acceleration is near that of each."""
    rows = np.random.default_rng(0).lognormal(sigma=1.0, size=(5000, 1))
    by_weights = OfWeights(5000, lambda weights: (weights @ rows)[:, 0] / weights.sum(axis=1))
    assert len(by_weights.left_out()) == 1000
    mean = OfMeans(rows, lambda means: means[..., 0])
    width = np.diff(bca_interval(mean))[0]
    assert bca_interval(by_weights) == pytest.approx(bca_interval(mean), abs=0.05 * width)
    few = OfWeights(300, lambda weights: (weights @ rows[:300])[:, 0] / weights.sum(axis=1))
    assert bca_interval(few) == pytest.approx(bca_interval(OfMeans(rows[:300], lambda means: means[..., 0])))
