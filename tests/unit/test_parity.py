"""Parity figures on cases whose answer is known without running the code."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.proof.parity import SQNR_CAP_DB, Parity, compare, compare_parts
from edgekit.result.parity import OutputParity


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
    assert Parity.model_validate(json.loads(json.dumps(parity.model_dump(mode="json"), allow_nan=False))) == parity


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
    whole, found = compare(reference, measured), compare_parts(lambda: parts)
    assert (found.samples, found.max_abs) == (8, whole.max_abs)
    for name, output in whole.per_output.items():
        assert found.per_output[name].sqnr_db == pytest.approx(output.sqnr_db)
        assert found.per_output[name].cosine == pytest.approx(output.cosine)
    measured["b"][5, 5] = np.nan
    assert "'b': NaN or infinity in 1 of 80" in compare_parts(lambda: parts).reason
    with pytest.raises(UsageError, match="no sample"):
        compare_parts(list)


def _formula(reference: np.ndarray, measured: np.ndarray) -> float:
    """Variation as the definition has it, in one line per symbol: (samples, elements) each."""
    variance = ((reference - reference.mean(0)) ** 2).sum(0) / (len(reference) - 1)
    error = ((reference - measured) ** 2).mean(0)
    return 10 * np.log10(variance.sum() / error.sum())


@pytest.mark.parametrize("offset", [0.0, 1013.0, 3e5])
@pytest.mark.parametrize("shape", [(40,), (40, 5), (40, 3, 5), (40, 2, 3, 5)])
def test_variation_is_the_formula_over_the_output_and_over_each_channel(shape: tuple[int, ...], offset: float) -> None:
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(size=shape[1:]))
    reference = offset + scale * rng.normal(size=shape)
    measured = reference + 0.05 * rng.normal(size=shape) + 0.02  # a bias counts
    axes = tuple(range(1, len(shape)))
    found = compare({"y": reference}, {"y": measured}, {"y": axes}).per_output["y"]
    assert found.variation_db == pytest.approx(_formula(reference.reshape(40, -1), measured.reshape(40, -1)), abs=1e-6)
    every = {
        (axis, i): _formula(*(np.take(a, i, axis).reshape(40, -1) for a in (reference, measured)))
        for axis in axes
        for i in range(shape[axis])
    }
    if not every:
        assert found.channel is None
        return
    worst = min(every, key=every.__getitem__)
    assert found.channel is not None
    assert (found.channel.axis, found.channel.index, found.channel.by) == (*worst, "variation")
    assert found.channel.db == pytest.approx(every[worst], abs=1e-6)


def test_a_constant_offset_hides_nothing() -> None:
    reference = 1013 + np.random.default_rng(0).normal(size=(64, 1))
    parity = compare({"y": reference}, {"y": np.round(reference)}, {"y": (1,)})
    assert parity.sqnr_db > 60
    assert parity.variation_db is not None
    assert 9 < parity.variation_db < 12  # rounding to steps of one deviation: its twelfth is the error's square


def test_few_samples_measure_less() -> None:
    def of(count: int, error: float = 0.1) -> Parity:
        reference = _logits(0, (count, 3))
        noise = error * np.random.default_rng(1).normal(size=(count, 3))
        return compare({"y": reference}, {"y": reference + noise}, {"y": (1,)})

    def of_zeros(count: int) -> OutputParity:
        reference = _logits(0, (count, 3))
        return compare({"y": reference}, {"y": np.zeros_like(reference)}, {"y": (1,)}).per_output["y"]

    assert (of(7).variation_db, of(7).channel_db) == (None, None)
    assert of(8).variation_db is not None
    assert (of(31).channel_db, of(32).channel_db is None) == (None, False)
    assert (of_zeros(3).dead, of_zeros(4).constant, of_zeros(8).constant) == ("", True, True)


def test_of_few_samples_a_channel_is_known_that_a_constant_is_closer_to() -> None:
    reference = _logits(0, (12, 3))
    found = reference.copy()
    found[:, 1] = found[::-1, 1]
    channel = compare({"y": reference}, {"y": found}, {"y": (1,)}).per_output["y"].channel
    assert channel is not None
    assert channel.index == 1
    assert channel.db < 0


def test_a_large_number_now_and_then_is_no_mask() -> None:
    """127 scores and an energy: the file's infinity is not the mask of anything."""
    rng = np.random.default_rng(0)
    reference = np.concatenate([rng.normal(size=(64, 127)), rng.uniform(1e5, 5e6, (64, 1))], axis=1)
    found = np.where(reference > 65504, np.inf, reference)
    assert compare({"y": reference}, {"y": reference}, {"y": (1,)}).per_output["y"].masked == 0
    assert (
        "infinity in 64 of 8192 values" in compare({"y": reference}, {"y": found}, {"y": (1,)}).per_output["y"].reason
    )


def test_a_channel_that_hardly_varies_is_held_by_its_size() -> None:
    reference = _logits(0, (50, 2))
    reference[:, 1] = 8.0
    close = reference + np.array([0.01, 0.008])
    channel = compare({"y": reference}, {"y": close}, {"y": (1,)}).per_output["y"].channel
    assert channel is not None
    assert (channel.index, channel.by) == (0, "variation")
    far = reference + np.array([0.01, 4.0])
    parity = compare({"y": reference}, {"y": far}, {"y": (1,)})
    channel = parity.per_output["y"].channel
    assert channel is not None
    assert (channel.index, channel.by) == (1, "magnitude")
    assert channel.db == pytest.approx(20 * np.log10(2))
    constant = compare({"y": reference[:, 1:]}, {"y": far[:, 1:]}, {"y": (1,)})
    assert constant.variation_db is None  # there is none to compare with
    assert constant.sqnr_db == pytest.approx(20 * np.log10(2))


def test_a_silent_channel_may_err_as_little_as_the_rest_is_large() -> None:
    reference = np.stack([np.linspace(-1, 1, 40), np.zeros(40)], axis=1)
    channel = compare({"y": reference}, {"y": reference + np.array([0, 1e-3])}, {"y": (1,)}).per_output["y"].channel
    assert channel is not None
    assert channel.index == 1
    assert channel.db == pytest.approx(10 * np.log10((reference**2).mean() / 1e-6))


@pytest.mark.parametrize("mask", [-np.inf, np.inf, -1e9, float(np.finfo(np.float32).min), -65504.0])
@pytest.mark.parametrize("share", [0.001, 0.2, 0.6])
def test_masked_places_must_be_equal_and_count_nowhere(mask: float, share: float) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(40, 50)).astype(np.float32)
    measured = reference + 0.01 * rng.normal(size=reference.shape).astype(np.float32)
    hidden = rng.random(reference.shape) < share
    plain = compare({"y": reference[~hidden][None]}, {"y": measured[~hidden][None]})
    sides = [np.where(hidden, np.float32(mask), side) for side in (reference, measured)]
    found = compare({"y": sides[0]}, {"y": sides[1]}, {"y": (1,)}).per_output["y"]
    assert (found.reason, found.masked) == ("", hidden.sum())
    assert found.sqnr_db == pytest.approx(plain.sqnr_db, abs=1e-6)
    kept = [reference[~hidden[:, i], i] for i in range(50)], [measured[~hidden[:, i], i] for i in range(50)]
    freedom = sum(len(k) - 1 for k in kept[0])
    variance = sum(((k - k.mean()) ** 2).sum() for k in (k.astype(float) for k in kept[0])) / freedom
    error = sum(((r - m) ** 2).sum() for r, m in zip(*kept, strict=True)) / (~hidden).sum()
    assert found.variation_db == pytest.approx(10 * np.log10(variance / error), abs=1e-4)
    sides[1][0, :] = 0.0
    assert "masked on one side only" in compare({"y": sides[0]}, {"y": sides[1]}).reason or not hidden[0].any()
    sides[1][0, 0] = np.nan
    assert compare({"y": sides[0]}, {"y": sides[1]}).reason


def test_a_mask_may_come_as_another_large_number() -> None:
    reference = np.where(np.arange(5) == 2, -np.inf, _logits(0, (8, 5)))
    assert compare({"y": reference}, {"y": np.maximum(reference, -3.4e38)}).reason == ""
    assert "masked on one side only" in compare({"y": reference}, {"y": np.maximum(reference, -4.0)}).reason
    assert "masked on one side only" in compare({"y": reference}, {"y": np.abs(reference)}).reason


def test_large_numbers_are_no_masks_where_they_are_what_the_output_says() -> None:
    rng = np.random.default_rng(0)
    energies = np.concatenate([-20000 + 50 * rng.normal(size=(40, 1)), rng.normal(size=(40, 200))], axis=1)
    assert compare({"y": energies}, {"y": energies}).per_output["y"].masked == 0
    likely = np.full((40, 1000), 1e-9)
    likely[np.arange(40), rng.integers(0, 1000, 40)] = 1.0
    assert compare({"y": likely}, {"y": likely}).per_output["y"].masked == 0


def test_integers_and_booleans_are_equal_or_not() -> None:
    numbers = np.arange(40).reshape(20, 2)
    other = numbers.copy()
    other[0, 0] = 39
    parity = compare({"n": numbers, "y": _logits(0, (20, 2))}, {"n": other, "y": _logits(0, (20, 2))})
    assert parity.per_output["n"].equal == 39 / 40
    assert parity.per_output["y"].equal is None
    assert parity.sqnr_db == SQNR_CAP_DB  # a class number that is off by 39 is no worse than one that is off by 1
    truth = numbers > 20
    assert compare({"b": truth}, {"b": truth}).per_output["b"].equal == 1.0


@pytest.mark.parametrize(("steps", "dead"), [(4, True), (7, True), (8, False), (33, False)])
def test_an_output_of_few_values_is_dead(steps: int, dead: bool) -> None:
    reference = np.linspace(0, 1, 200)[:, None]
    found = compare({"y": reference}, {"y": np.round(reference * (steps - 1))}).per_output["y"]
    assert bool(found.dead) == dead
    few = np.round(reference * 7)
    assert compare({"y": few}, {"y": np.minimum(few, 1)}).per_output["y"].dead == ""  # a quarter of eight is two
