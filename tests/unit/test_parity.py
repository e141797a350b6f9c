"""Parity figures on cases whose answer is known without running the code."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.proof.parity import SQNR_CAP_DB, Parity, compare, compare_parts


def _logits(seed: int = 0, shape: tuple[int, ...] = (8, 10)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def test_known_ratio_gives_known_decibels() -> None:
    reference = np.array([[3.0, 4.0]])
    parity = compare({"y": reference}, {"y": reference + np.array([[0.05, 0.0]])})
    assert parity.sqnr_db == pytest.approx(40.0)  # 25 / 0.0025 = 10^4
    assert parity.max_abs == pytest.approx(0.05)
    assert parity.cosine == pytest.approx((3 * 3.05 + 16) / (5 * np.hypot(3.05, 4)))


def test_identical_outputs_reach_the_cap() -> None:
    parity = compare({"y": _logits()}, {"y": _logits()})
    assert (parity.sqnr_db, parity.max_abs, parity.samples, parity.reason) == (SQNR_CAP_DB, 0.0, 8, "")
    assert parity.cosine == pytest.approx(1.0)


@given(st.floats(-60, 120), st.floats(1e-6, 1e6))
def test_sqnr_is_the_chosen_noise_level_whatever_the_scale(decibels: float, scale: float) -> None:
    reference, noise = _logits(1) * scale, _logits(2)
    noise *= np.linalg.norm(reference) / np.linalg.norm(noise) * 10 ** (-decibels / 20)
    assert compare({"y": reference}, {"y": reference + noise}).sqnr_db == pytest.approx(decibels, abs=1e-3)


def test_worst_output_is_on_top() -> None:
    good, bad = _logits(1), _logits(2)
    parity = compare({"a": good, "b": bad}, {"a": good + 1e-6, "b": bad + 0.5})
    assert parity.sqnr_db == parity.per_output["b"].sqnr_db < parity.per_output["a"].sqnr_db
    assert parity.max_abs == pytest.approx(0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_measured_values_that_are_not_finite_score_zero_with_a_reason(value: float) -> None:
    measured = _logits()
    measured[3, 2] = value
    parity = compare({"y": _logits()}, {"y": measured})
    assert (parity.sqnr_db, parity.cosine, parity.max_abs) == (0.0, 0.0, None)
    assert "1 of 80" in parity.reason
    assert Parity.from_json(json.loads(json.dumps(parity.to_json(), allow_nan=False))) == parity


def test_silent_reference() -> None:
    zero = np.zeros((2, 3))
    assert compare({"y": zero}, {"y": zero}).sqnr_db == SQNR_CAP_DB
    assert compare({"y": zero}, {"y": zero}).cosine == 1.0
    parity = compare({"y": zero}, {"y": zero + 0.1})
    assert (parity.sqnr_db, parity.cosine) == (-SQNR_CAP_DB, 0.0)
    assert "all zero" in parity.reason


def test_constant_reference_and_dead_output() -> None:
    parity = compare({"y": np.full((4, 2), 2.0)}, {"y": np.zeros((4, 2))})
    assert (parity.sqnr_db, parity.cosine) == (0.0, 0.0)


def test_integers_are_compared_as_real_numbers() -> None:
    reference = np.array([[-128, 127]], dtype=np.int8)
    assert compare({"y": reference}, {"y": np.array([[127, -128]], dtype=np.int8)}).max_abs == 255.0


def test_wrong_shapes_and_names_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(8, 10\).*\(8, 9\)"):
        compare({"y": _logits()}, {"y": _logits(0, (8, 9))})
    with pytest.raises(UsageError, match=r"\['y'\].*\['z'\]"):
        compare({"y": _logits()}, {"z": _logits()})
    with pytest.raises(UsageError, match="number of samples"):
        compare({"y": _logits(0, (0, 3))}, {"y": _logits(0, (0, 3))})
    with pytest.raises(UsageError, match="reference holds NaN"):
        compare({"y": np.array([[np.nan]])}, {"y": np.array([[1.0]])})


def test_parts_add_up_to_the_whole() -> None:
    reference, measured = {"a": _logits(1), "b": _logits(2)}, {"a": _logits(1) + 0.01, "b": _logits(3)}
    cuts = [slice(0, 3), slice(3, 4), slice(4, 8)]
    parts = [
        tuple({name: array[cut] for name, array in side.items()} for side in (reference, measured)) for cut in cuts
    ]
    whole, found = compare(reference, measured), compare_parts(parts)
    assert (found.samples, found.max_abs) == (8, whole.max_abs)
    for name, output in whole.per_output.items():
        assert found.per_output[name].sqnr_db == pytest.approx(output.sqnr_db)
        assert found.per_output[name].cosine == pytest.approx(output.cosine)
    measured["b"][5, 5] = np.nan
    assert "'b': NaN or infinity in 1 of 80" in compare_parts(parts).reason
    with pytest.raises(UsageError, match="no sample"):
        compare_parts([])
