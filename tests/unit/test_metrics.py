"""Metrics against values worked out by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, log_loss

from edgekit.errors import UsageError
from edgekit.proof.metrics import NLL_CAP, SI_SDR_CAP_DB, agreement, metric, names, predictions


def _value(name: str, labels: np.ndarray, logits: np.ndarray) -> float:
    chosen = metric(name)
    return float(chosen.value(chosen.contributions(labels, logits).mean(axis=0)))


def test_registry_finds_metrics_by_name_and_suggests() -> None:
    assert {"top1", "miou", "perplexity"} <= set(names())
    assert all(metric(name).name == name for name in names())
    with pytest.raises(UsageError) as caught:
        metric("top")
    assert "top1" in caught.value.hint


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
        (np.array([0, 1, 3]), "0 to 2 is allowed"),
        (np.array([0, -1, 2]), "range from -1"),
        (np.array([0.0, 1.0, 2.0]), "float64"),
        (np.array([0, 1]), r"\(2,\)"),
        (np.eye(3, dtype=int), "without its last axis"),
    ],
)
def test_labels_that_do_not_belong_to_the_output_are_refused(labels: np.ndarray, message: str) -> None:
    for name in ("top1", "miou", "perplexity"):  # those that score logits; map's labels are boxes
        with pytest.raises(UsageError, match=message):
            metric(name).contributions(labels, np.zeros((3, 3)))


def test_top1_refuses_labels_per_position_and_empty_data() -> None:
    with pytest.raises(UsageError, match="one label per sample"):
        metric("top1").contributions(np.zeros((2, 4), int), np.zeros((2, 4, 3)))
    with pytest.raises(UsageError, match="no labels"):
        metric("top1").contributions(np.zeros(0, int), np.zeros((0, 3)))


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
