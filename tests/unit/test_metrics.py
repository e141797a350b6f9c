"""Metrics against values worked out by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import (
    jaccard_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
    top_k_accuracy_score,
)

from edgekit.errors import UsageError
from edgekit.proof.accuracy import measure_accuracy
from edgekit.proof.metrics import agreement, metric, names, predictions
from edgekit.proof.metrics.classes import NLL_CAP
from edgekit.proof.metrics.values import SI_SDR_CAP_DB


def _value(name: str, labels: np.ndarray, logits: np.ndarray) -> float:
    chosen = metric(name)
    scored = chosen.read({"y": logits}, labels)
    if chosen.check_set is not None:
        chosen.check_set(labels)
    return chosen.value(chosen.gathered([chosen.score(labels, scored)]))


def test_registry_finds_metrics_by_name_and_suggests() -> None:
    assert {"top1", "miou", "perplexity"} <= set(names())
    assert all(metric(name).name == name for name in names())
    with pytest.raises(UsageError) as caught:
        metric("top_1")
    assert "top1" in caught.value.hint
    with pytest.raises(UsageError, match="unknown metric 'accuracy'") as caught:
        metric("accuracy")
    assert caught.value.hint.startswith("Here it is called 'top1'.")


def test_top1_counts_each_sample_as_zero_or_one() -> None:
    logits = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 3.0], [np.nan, 3.0]])
    labels = np.array([1, 1, 1, 1])
    assert metric("top1").contributions(labels, logits)[:, 0].tolist() == [1, 0, 1, 0]
    assert _value("top1", labels, logits) == 0.5


def test_miou_equals_sklearn_over_all_positions() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 4, 6, 3)), rng.integers(0, 3, size=(5, 4, 6))
    expected = jaccard_score(labels.ravel(), logits.argmax(-1).ravel(), average="macro")
    assert _value("miou", labels, logits) == pytest.approx(expected)


def test_miou_leaves_out_a_class_that_never_occurs_and_counts_nan_as_wrong() -> None:
    labels = np.array([[0, 0, 1, 1]])
    logits = np.eye(3)[labels] * 5.0
    assert _value("miou", labels, logits) == 1.0
    logits[0, 0] = np.nan
    assert _value("miou", labels, logits) == pytest.approx((1 / 2 + 1) / 2)


def test_perplexity_equals_the_exponential_of_sklearns_log_loss() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 7, 5)), rng.integers(0, 5, size=(6, 7))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.exp(log_loss(labels.ravel(), probabilities.reshape(-1, 5), labels=range(5)))
    assert _value("perplexity", labels, logits) == pytest.approx(expected)
    assert _value("perplexity", labels, np.zeros_like(logits)) == pytest.approx(5.0)


def test_perplexity_stays_finite_on_broken_output() -> None:
    labels = np.array([[0, 1]])
    assert _value("perplexity", labels, np.full((1, 2, 3), np.nan)) == pytest.approx(np.exp(NLL_CAP))
    assert _value("perplexity", labels, np.array([[[0, 1e9, 0], [1e9, 0, 0.0]]])) == pytest.approx(np.exp(NLL_CAP))


def test_int8_logits_are_scored_without_overflow() -> None:
    logits = np.array([[-128, 127], [127, -128]], dtype=np.int8)
    assert _value("top1", np.array([1, 0]), logits) == 1.0
    assert _value("perplexity", np.array([1, 0]), logits) == pytest.approx(1.0)


def test_agreement_is_per_position_and_nan_never_agrees() -> None:
    a = np.eye(3)[[[0, 1], [2, 2]]]
    b = np.eye(3)[[[0, 1], [2, 0]]]
    assert agreement(a, b) == 0.75
    assert agreement(a, np.full_like(a, np.nan)) == 0.0
    assert predictions(np.array([[1.0, np.inf]])).tolist() == [-1]
    with pytest.raises(UsageError, match="differ in shape"):
        agreement(a, b[:1])


def test_drop_is_positive_when_worse() -> None:
    reference, worse = np.array(0.9), np.array(0.8)
    assert metric("top1").drop(reference, worse) == pytest.approx(0.1)
    assert metric("perplexity").drop(np.array(10.0), np.array(10.5)) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 3]), "label 3 of sample 2 .* 0 to 2 is allowed"),
        (np.array([0, -1, 2]), "label -1 of sample 1"),
        (np.array([0.0, 1.0, 2.0]), "float64"),
        (np.array(["a", "b", "c"]), "U1"),
        (np.array([0, 1]), r"\(2,\)"),
        (np.eye(3, dtype=int), "without its last axis"),
    ],
)
def test_labels_that_do_not_belong_to_the_output_are_refused(labels: np.ndarray, message: str) -> None:
    for name in ("top1", "miou", "perplexity"):  # those that score logits; map's labels are boxes
        with pytest.raises(UsageError, match=message):
            metric(name).score(labels, np.zeros((3, 3)))


def test_true_and_false_tell_two_classes_apart_and_no_more() -> None:
    labels = np.array([True, False, True])
    metric("top1").check(labels, (3, 2))
    with pytest.raises(UsageError, match="true or false, and the model has 6 classes"):
        metric("top1").check(labels, (3, 6))


def test_top1_refuses_labels_per_position_and_empty_data() -> None:
    with pytest.raises(UsageError, match="one label per sample"):
        metric("top1").score(np.zeros((2, 4), int), np.zeros((2, 4, 3)))
    with pytest.raises(UsageError, match="no labels"):
        metric("top1").score(np.zeros(0, int), np.zeros((0, 3)))


def _tone(decibels: float, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A signal, and the same scaled with an error orthogonal to it at that many dB below."""
    at = 2 * np.pi * np.arange(1000) / 1000
    clean, error = np.sin(5 * at)[None], np.sin(7 * at)[None]
    return clean, scale * (clean + 10 ** (-decibels / 20) * error)


@pytest.mark.parametrize("decibels", [-10.0, 0.0, 12.5])
@pytest.mark.parametrize("scale", [0.01, 1.0, -3.0])
def test_si_sdr_is_the_ratio_whatever_the_scale(decibels: float, scale: float) -> None:
    assert _value("si_sdr", *_tone(decibels, scale)) == pytest.approx(decibels)


def test_si_sdr_of_silence_nan_and_the_signal_itself_is_finite() -> None:
    clean, found = _tone(20)
    assert _value("si_sdr", clean, clean) == SI_SDR_CAP_DB
    assert _value("si_sdr", clean, np.zeros_like(clean)) == -SI_SDR_CAP_DB
    found[0, 3] = np.nan
    assert _value("si_sdr", clean, found) == -SI_SDR_CAP_DB
    assert metric("si_sdr").decisions is None


def test_si_sdr_refuses_silence_classes_and_other_shapes() -> None:
    clean, found = _tone(20)
    with pytest.raises(UsageError, match="silence"):
        _value("si_sdr", np.zeros_like(clean), found)
    with pytest.raises(UsageError, match="needs floats"):
        _value("si_sdr", np.zeros((1, 1000), int), found)
    with pytest.raises(UsageError, match="needs floats"):
        _value("si_sdr", clean[:, :-1], found)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_equals_sklearn_with_and_without_ties(ties: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    scores = labels + rng.normal(size=200)
    scores = np.round(scores) if ties else scores
    assert _value("auc", labels, scores[:, None]) == pytest.approx(roc_auc_score(labels, scores))
    two = np.stack([np.zeros(200), scores], axis=1)
    assert _value("auc", labels, two) == pytest.approx(roc_auc_score(labels, scores))
    assert _value("auc", labels, np.full((200, 1), np.nan)) == 0.5
    with pytest.raises(UsageError, match="both classes"):
        _value("auc", np.ones(200, int), scores[:, None])


def test_auc_of_weighted_and_of_left_out_samples_equals_sklearn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 40)
    scores = np.round(labels + rng.normal(size=40), 1)
    area = metric("auc").statistic(metric("auc").score(labels, scores))
    weights = rng.integers(0, 3, size=(5, 40)).astype(float)
    expected = [roc_auc_score(labels, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(area.resampled(weights), expected)
    left = [roc_auc_score(np.delete(labels, i), np.delete(scores, i)) for i in range(40)]
    np.testing.assert_allclose(area.left_out(), left)


@pytest.mark.parametrize("shape", [(90,), (90, 1), (90, 3), (90, 2, 2)])
def test_quantities_equal_sklearn(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    labels = (1013 + 5 * rng.normal(size=shape)).astype(np.float32)
    found = labels + rng.normal(size=shape).astype(np.float32)
    flat = labels.reshape(90, -1), found.reshape(90, -1)
    assert _value("mae", labels, found) == pytest.approx(mean_absolute_error(*flat))
    assert _value("rmse", labels, found) == pytest.approx(root_mean_squared_error(labels.ravel(), found.ravel()))
    assert _value("r2", labels, found) == pytest.approx(r2_score(*flat, multioutput="variance_weighted"))


def test_an_output_with_or_without_its_last_axis_is_one_quantity() -> None:
    labels = np.arange(6)
    assert _value("mae", labels, labels[:, None] + 0.5) == 0.5
    assert _value("mae", labels[:, None], labels + 0.5) == 0.5
    two = {"a": np.zeros((6, 3)), "b": labels[:, None] + 1.0}
    assert metric("mae").read(two, labels[:, None]).tolist() == two["b"].tolist()


def test_quantities_of_a_broken_file_are_terrible_and_finite() -> None:
    labels = np.arange(6.0)
    for name in ("mae", "rmse"):
        assert 1e20 < _value(name, labels, np.where(labels == 3, np.nan, labels)) < np.inf
    assert -np.inf < _value("r2", labels, labels + np.inf) < -1e20
    with pytest.raises(UsageError, match=r"those of the 6 samples are alike"):
        _value("r2", np.ones(6), labels)
    with pytest.raises(UsageError, match=r"\(6, 2\)"):
        _value("mae", np.ones((6, 2)), labels)


def test_top5_equals_sklearn_and_a_constant_answer_is_wrong() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 12)), rng.integers(0, 12, 300)
    assert _value("top5", labels, logits) == pytest.approx(top_k_accuracy_score(labels, logits, k=5))
    assert _value("top5", labels, np.zeros_like(logits)) == 0.0
    with pytest.raises(UsageError, match="at least 6 classes"):
        _value("top5", labels % 3, logits[:, :5])


def test_one_unit_tells_two_classes_by_its_probability_or_its_logit() -> None:
    labels, unit = np.array([0, 1, 1, 0]), np.array([[0.2], [0.9], [0.4], [np.nan]])
    assert _value("binary", labels, unit) == 0.5
    assert _value("binary_logit", labels, unit * 2 - 1) == 0.5
    accuracy = measure_accuracy("binary", [(labels[:3], unit[:3, 0], np.array([0.6, 0.9, 0.4]))])
    assert (accuracy.float_, accuracy.artifact, accuracy.flips, accuracy.agreement) == (2 / 3, 1 / 3, (1, 0), 2 / 3)
    with pytest.raises(UsageError, match="from -3 to 4") as raised:
        measure_accuracy("binary", [(labels[:2], np.array([-3.0, 4.0]), np.array([0.0, 1.0]))])
    assert "binary_logit" in raised.value.hint
    with pytest.raises(UsageError, match="one unit per sample") as raised:
        _value("top1", labels, unit)
    assert "--metric binary" in raised.value.hint
    with pytest.raises(UsageError, match=r"shape \(4, 3\)"):
        _value("binary", labels, np.zeros((4, 3)))


def test_a_forbidden_class_is_minus_infinity() -> None:
    logits = np.array([[1.0, -np.inf, 2.0], [-np.inf, -np.inf, -np.inf], [np.nan, 1.0, 2.0]])
    assert predictions(logits).tolist() == [2, -1, -1]
    assert measure_accuracy("top1", [(np.array([2]), logits[:1], logits[:1])]).float_ == 1.0


def _sides(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and the outputs of a good and of a useless model, as each metric reads them."""
    rng = np.random.default_rng(0)
    if name == "map":
        boxes = np.concatenate([np.sort(rng.uniform(0, 40, size=(60, 2, 2)), axis=1).reshape(60, 1, 4)] * 2, axis=1)
        boxes[..., 2:] += 8
        labels = np.concatenate([rng.integers(0, 2, (60, 2, 1)), boxes], axis=-1)
        scores = np.stack([labels[..., 0] == 0, labels[..., 0] == 1], axis=-1).astype(float)
        return labels, np.concatenate([boxes, scores], -1), np.concatenate([boxes + 99, scores], -1)
    if name == "mask_map":
        kinds, masks = rng.integers(0, 2, (60, 2)), np.zeros((60, 2, 8, 8), bool)
        masks[:, 0, :3], masks[:, 1, 5:] = True, True
        labels = np.where(masks, (1000 * kinds + [0, 1])[..., None, None], -1).max(axis=1)
        scores, rows = np.eye(2)[kinds], masks.reshape(60, 2, 64)
        return labels, np.concatenate([scores, rows], -1), np.concatenate([scores, 0 * rows], -1)
    if name == "si_sdr":
        clean = rng.normal(size=(60, 50))
        return clean, clean + 0.1 * rng.normal(size=clean.shape), clean + 2 * rng.normal(size=clean.shape)
    if name == "stylization":
        at = np.arange(32)
        scene = np.where(at < rng.integers(8, 24, (60, 1, 1)), -0.8, 0.8)[..., None] * np.ones((32, 1, 3))
        picture = np.broadcast_to(0.9 * np.sin(1.6 * (at[:, None] + at))[..., None], scene.shape)
        return np.stack([scene, picture], axis=1), 0.3 * scene + 0.8 * picture, scene
    if name in ("mae", "rmse", "r2"):
        labels = rng.normal(size=(60, 2))
        return labels, labels + 0.1 * rng.normal(size=labels.shape), np.full(labels.shape, labels.mean(0))
    if name.startswith("recall"):
        # Twenty classes of three: few enough neighbours that an answer without the sample does not find.
        labels = np.repeat(np.arange(20), 3)
        return labels, np.eye(20)[labels] + 0.01 * rng.normal(size=(60, 20)), np.ones((60, 20))
    if name.startswith("wer"):
        labels = rng.integers(1, 8, (60, 5))
        if name == "wer":
            return labels, labels, np.full((60, 5), -1)
        steps = np.stack([labels, np.full(labels.shape, 0 if name == "wer_ctc" else 8)], axis=2).reshape(60, 10)
        return labels, 9.0 * np.eye(9)[steps], 9.0 * np.eye(9)[np.full((60, 10), steps[0, 1])]
    if name in ("auc", "eer", "binary", "binary_logit"):
        labels = rng.integers(0, 2, 60)
        return labels, np.where(labels, 0.9, 0.1) - (name == "binary_logit") / 2, np.full(60, 0.6)
    labels = rng.integers(0, 8, (60, 5) if name in ("miou", "perplexity") else 60)
    return labels, 9.0 * np.eye(8)[labels], np.zeros((*labels.shape, 8))


@pytest.mark.parametrize("name", names())
def test_only_a_model_that_beats_a_trivial_answer_is_not_weak(name: str) -> None:
    labels, good, useless = _sides(name)
    inputs = lambda: {"noisy": labels + 2 * np.random.default_rng(5).normal(size=labels.shape)}  # noqa: E731
    strong = measure_accuracy(name, [(labels, good, good)], inputs)
    assert not strong.weak
    assert strong.trivial is not None
    better = strong.float_ - strong.trivial if strong.higher_is_better else strong.trivial - strong.float_
    assert better > 0
    assert measure_accuracy(name, [(labels, useless, useless)], inputs).weak


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("top1", np.array([3, 3, 1, 0]), 0.5),
        ("top5", np.array([0, 1, 2, 3, 4, 5, 6, 6]), 6 / 8),
        ("binary", np.array([1, 1, 1, 0]), 0.75),
        ("auc", np.array([1, 1, 1, 0]), 0.5),
        ("eer", np.array([1, 1, 1, 0]), 0.5),
        ("recall@1", np.array([3, 3, 3, 1, 1]), 0.6),
        ("recall@5", np.array([3, 3, 3, 1, 1]), 1.0),
        ("wer", np.array([[1, 2], [1, 2], [3, 4]]), 2 / 6),
        ("wer", np.array([[1, 2], [3, 4], [5, -1]]), 4 / 5),
        ("miou", np.array([[0, 0, 0, 1]]), (3 / 4) / 2),
        ("perplexity", np.array([[0, 0, 1, 1]]), 2.0),
        ("mae", np.array([0.0, 1.0, 10.0]), 10 / 3),
        ("r2", np.array([0.0, 1.0, 10.0]), 0.0),
    ],
)
def test_trivial_answers(name: str, labels: np.ndarray, expected: float) -> None:
    chosen = metric(name)
    shape = labels.shape if name in ("binary", "auc", "eer", "mae", "r2") else (*labels.shape, 7)
    assert chosen.value(chosen.trivial(labels, shape, dict)) == pytest.approx(expected)


def test_a_relative_error_is_a_fraction_of_something_even_where_the_float_model_makes_none() -> None:
    """Labels that are the model's own answers: no file keeps to a fraction of nothing."""
    labels = np.random.default_rng(0).normal(size=(500, 1))
    accuracy = measure_accuracy("rmse", [(labels, labels, labels + 1e-4)])
    assert accuracy.float_ == 0.0
    assert accuracy.drop == pytest.approx(1e-4 / (0.05 * labels.std()))
    assert accuracy.drop_ci95 == pytest.approx((accuracy.drop, accuracy.drop))


def test_only_metrics_of_classes_let_a_bad_channel_pass_as_a_note() -> None:
    """Of boxes, quantities and signals every channel counts, whatever scores them."""
    lenient = {name for name in names() if metric(name).reads_classes}
    assert lenient == {
        "top1", "top5", "binary", "binary_logit", "auc", "eer", "miou", "perplexity", "wer_ctc", "wer_ctc_last",
    }  # fmt: skip
