"""Verdicts, and the accuracy figures that they rest on."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from edgekit.errors import UsageError
from edgekit.limits import DropLimit, Gate, parity, with_defaults
from edgekit.proof import judge
from edgekit.proof.accuracy import measure_accuracy, samples_needed
from edgekit.proof.intervals import tango_interval
from edgekit.proof.judge import judge_accuracy, judge_parity
from edgekit.proof.parity import compare
from edgekit.result import Accuracy
from edgekit.result.parity import Parity
from edgekit.schemes import FP32, SCHEMES

INT8 = SCHEMES["int8"]

GATE = Gate(
    parity=parity(INT8).model_copy(update={"sqnr_db_min": 30.0, "cosine_min": 0.99}),
    top1=DropLimit(drop_max=0.01),
    map=DropLimit(drop_max=0.01),
    relative=DropLimit(drop_max=0.02),
)


def _top1(n: int, only_float: int, only_artifact: int) -> Accuracy:
    """Measure two-class logits in which so many samples flip each way, and the rest are right."""
    labels = np.zeros(n, int)
    before, after = labels.copy(), labels.copy()
    after[:only_float] = 1
    before[only_float : only_float + only_artifact] = 1
    return measure_accuracy("top1", [(labels, np.eye(2)[before], np.eye(2)[after])])


def test_top1_figures() -> None:
    accuracy = _top1(1000, 8, 3)
    assert (accuracy.float_, accuracy.artifact) == (0.997, 0.992)
    assert accuracy.drop == pytest.approx(0.005)
    assert accuracy.drop_ci95 == tango_interval(8, 3, 1000)
    assert (accuracy.agreement, accuracy.flips, accuracy.checkpoint) == (0.989, (8, 3), 0.997)


@pytest.mark.parametrize("samples", [1, 5, 6])
def test_a_handful_of_errors_says_nothing_of_chance(samples: int) -> None:
    """Of one sample the bootstrap's interval has no width, and the file failed or passed with certainty."""
    labels = np.arange(samples, dtype=np.float64)[:, None]
    for worse, status in ((0.0, "PASS"), (1.0, "FAIL_ACCURACY")):
        accuracy = measure_accuracy("rmse", [(labels, labels + 1.0, labels + 1.0 + worse)])
        verdict = judge_accuracy(accuracy, GATE, share=0.7)
        assert verdict.status == ("UNDECIDED" if samples < 6 else status)
        assert samples >= 6 or ("interval, which needs 6" in verdict.reason and "at least 9" in verdict.hint)


def test_json_has_the_fields_of_the_contract() -> None:
    accuracy = _top1(100, 1, 0)
    found = json.loads(json.dumps(accuracy.model_dump(mode="json"), allow_nan=False))
    assert Accuracy.model_validate(found) == accuracy
    expected = "metric higher_is_better samples float checkpoint artifact drop drop_ci95 agreement"
    assert set(expected.split()) <= set(found)
    text = _text(20, 0.1)
    assert Accuracy.model_validate(json.loads(json.dumps(text.model_dump(mode="json"), allow_nan=False))) == text


@pytest.mark.parametrize(
    ("n", "only_float", "only_artifact", "status"),
    [
        (1000, 5, 2, "PASS"),
        (1000, 0, 0, "PASS"),
        (1000, 20, 5, "FAIL_ACCURACY"),
        (1000, 10, 0, "PASS"),  # exactly the limit
        (1000, 11, 0, "FAIL_ACCURACY"),
        (294, 8, 5, "UNDECIDED"),  # a drop of one point that may be none at all
        (294, 5, 2, "UNDECIDED"),
        (100, 0, 0, "UNDECIDED"),  # nothing flips, yet 3.7 points cannot be excluded
        (200, 2, 1, "UNDECIDED"),
        (1000, 5, 40, "PASS"),  # better than float
    ],
)
def test_top1_verdicts(n: int, only_float: int, only_artifact: int, status: str) -> None:
    verdict = judge_accuracy(_top1(n, only_float, only_artifact), GATE)
    assert verdict.status == status
    assert bool(verdict.reason) == (status != "PASS")


@pytest.mark.parametrize(("only_float", "only_artifact", "n"), [(0, 0, 100), (2, 1, 200), (4, 4, 300)])
def test_undecided_names_the_number_of_samples_that_decides(only_float: int, only_artifact: int, n: int) -> None:
    accuracy = _top1(n, only_float, only_artifact)
    needed = samples_needed(accuracy, lambda _, high: high <= 0.02)
    assert f"about {needed} labelled samples would decide" in judge_accuracy(accuracy, GATE).reason
    scale = needed / n
    assert tango_interval(only_float * scale, only_artifact * scale, needed)[1] <= 0.02
    fewer = (needed - 1) / n
    assert tango_interval(only_float * fewer, only_artifact * fewer, needed - 1)[1] > 0.02
    assert samples_needed(accuracy, lambda _, high: high <= accuracy.drop) is None


def test_a_drop_that_may_be_none_needs_so_many_samples_to_hand_in() -> None:
    """Three flips of 294 prove nothing: the reason names the split, n, the interval, and what is missing."""
    accuracy = _top1(294, 8, 5)
    verdict = judge_accuracy(accuracy, GATE, split="selection", share=0.3)
    assert verdict.status == "UNDECIDED"
    for part in (
        "1.02 points",
        "294 selection samples",
        "interval -1.57 points to 3.81 points",
        "limit of 1.00 points",
        "30% of them",
    ):
        assert part in verdict.reason, verdict.reason
    needed = samples_needed(accuracy, lambda low, _: low > 0)
    assert needed is not None
    assert f"about {math.ceil(needed / 0.3)} labelled samples" in verdict.reason
    assert str(math.ceil(needed / 0.3)) in verdict.hint
    scale = needed / 294
    assert tango_interval(8 * scale, 5 * scale, needed)[0] > 0


def _text(samples: int, noise: float, seed: int = 0) -> Accuracy:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(samples, 16, 10)) * 2
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
    return measure_accuracy("perplexity", [(labels, logits, logits + noise * rng.normal(size=logits.shape))])


def test_perplexity_drop_is_relative_and_paired() -> None:
    accuracy = _text(500, 0.05)
    assert accuracy.drop == pytest.approx(accuracy.artifact / accuracy.float_ - 1)
    low, high = accuracy.drop_ci95
    assert low < accuracy.drop < high
    assert high - low < 0.01  # paired; the perplexities alone are known to about 4 %
    assert judge_accuracy(accuracy, GATE).status == "PASS"


def test_perplexity_verdicts() -> None:
    assert judge_accuracy(_text(500, 0.8), GATE).status == "FAIL_ACCURACY"
    few = _text(10, 0.2)
    verdict = judge_accuracy(few, GATE)
    assert few.drop <= 0.02
    assert few.drop_ci95[1] > 0.04
    assert verdict.status == "UNDECIDED"
    needed = samples_needed(few, lambda _, high: high <= 0.04)
    assert needed is not None
    assert needed > 10
    assert "%" in verdict.reason


def test_identical_outputs() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4, 4, 3))
    labels = logits.argmax(-1)
    miou = measure_accuracy("miou", [(labels, logits, logits)])
    # Not [0, 0]: 50 samples in which nothing changes do not prove that nothing ever does.
    assert miou.drop_ci95 == tango_interval(0, 0, 50)
    assert miou.float_ == 1.0
    assert miou.checkpoint == 1.0
    assert measure_accuracy("perplexity", [(labels, logits, logits)]).drop_ci95 == (0.0, 0.0)


@pytest.mark.parametrize(("name", "labelled"), [("top1", (120,)), ("miou", (120, 4)), ("perplexity", (120, 4))])
def test_accuracy_of_parts_is_that_of_the_whole(name: str, labelled: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, labelled)
    before = np.eye(3)[labels] + 0.5 * rng.normal(size=(*labelled, 3))
    after = before + 0.2 * rng.normal(size=before.shape)
    cuts = [slice(0, 50), slice(50, 51), slice(51, 120)]
    found = measure_accuracy(name, ((labels[cut], before[cut], after[cut]) for cut in cuts))
    whole = measure_accuracy(name, [(labels, before, after)])
    assert found.agreement == pytest.approx(whole.agreement)
    assert found.model_copy(update={"agreement": None}) == whole.model_copy(update={"agreement": None})


def test_miou_drop_interval_holds_the_drop() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, size=(120, 8, 8))
    logits = np.eye(3)[labels] + 0.5 * rng.normal(size=(120, 8, 8, 3))
    accuracy = measure_accuracy("miou", [(labels, logits, logits + 0.3 * rng.normal(size=logits.shape))])
    assert 0 < accuracy.drop_ci95[0] < accuracy.drop < accuracy.drop_ci95[1] < 0.2
    assert accuracy.flips is None


def test_accuracy_refuses_outputs_that_cannot_be_compared() -> None:
    labels, logits = np.zeros(3, int), np.zeros((3, 2))
    with pytest.raises(UsageError, match="differ in shape"):
        measure_accuracy("top1", [(labels, logits, np.zeros((3, 3)))])
    with pytest.raises(UsageError, match="NaN"):
        measure_accuracy("top1", [(labels, logits * np.nan, logits)])
    labels, logits = np.zeros(30, int), np.zeros((30, 2))
    broken = measure_accuracy("top1", [(labels, logits, logits * np.nan)])
    assert (broken.artifact, broken.agreement) == (0.0, 0.0)
    assert judge_accuracy(broken, GATE).status == "FAIL_ACCURACY"


def test_parity_verdicts_name_the_output_and_the_limit() -> None:
    reference = {"a": np.ones((2, 3)), "b": np.arange(6.0).reshape(2, 3)}
    assert judge_parity(compare(reference, reference), GATE.parity) == ("PASS", "", "")
    status, reason, _ = judge_parity(compare(reference, {**reference, "b": reference["b"] + 0.5}), GATE.parity)
    assert status == "FAIL_PARITY"
    assert "'b'" in reason
    assert "30 dB" in reason
    status, reason, _ = judge_parity(compare(reference, {**reference, "a": np.full((2, 3), np.nan)}), GATE.parity)
    assert status == "FAIL_PARITY"
    assert "NaN" in reason
    loose = GATE.parity.model_copy(update={"sqnr_db_min": -400.0, "cosine_min": 0.999})
    assert "cosine" in judge_parity(compare(reference, {**reference, "b": reference["b"] + 2}), loose).reason


def test_a_figure_that_hardly_misses_its_limit_does_not_look_as_if_it_met_it() -> None:
    found = [judge._less(value, 55) for value in (20.0, 54.96, 54.99983)]
    assert found == ["20.0", "54.960", "54.999830"]


def test_a_useless_output_fails_whatever_its_sqnr_is() -> None:
    answers = 1013 + 5 * np.random.default_rng(0).normal(size=(64, 1))
    found = compare({"y": answers}, {"y": np.round(answers / 16) * 16})
    assert found.sqnr_db > 40
    verdict = judge_parity(found, GATE.parity)
    assert verdict.status == "FAIL_PARITY"
    assert "variation" in verdict.reason
    assert "offset" in verdict.hint


def test_a_bad_channel_is_named_and_is_a_finding_where_only_the_largest_value_counts() -> None:
    rng = np.random.default_rng(0)
    boxes, scores = rng.uniform(0, 640, size=(64, 9, 4)), rng.uniform(size=(64, 9, 3))
    reference = {"y": np.concatenate([boxes, scores], -1)}
    found = compare(reference, {"y": np.concatenate([boxes, np.zeros_like(scores)], -1)}, {"y": (1, 2)})
    assert found.sqnr_db > 50
    status, reason, hint = judge_parity(found, GATE.parity)
    assert status == "FAIL_PARITY"
    assert re.search("channel [456] of axis 2", reason)
    assert "--outputs y=classes" in hint
    assert judge_parity(found, GATE.parity, classes=["y"]).status == "PASS"
    [finding] = judge.findings(found, GATE.parity, ["y"])
    assert "of axis 2" in finding


def test_an_output_that_is_the_same_for_all_samples_is_a_finding() -> None:
    moving, still = np.random.default_rng(0).normal(size=(9, 4)), np.tile(np.arange(4.0), (9, 1))
    for same in (still, still.astype(np.int64), np.zeros((9, 4)), 1 + 1e-12 * moving):
        found = compare({"m": moving, "s": same}, {"m": moving, "s": same})
        assert judge_parity(found, GATE.parity).status == "PASS"
        [finding] = judge.findings(found, GATE.parity, [])
        assert finding.startswith("output 's' of the model is the same for all 9 samples")
    assert not judge.findings(compare({"s": still[:1]}, {"s": still[:1]}), GATE.parity, []), "one sample tells nothing"


def test_a_dead_output_fails_although_it_holds_classes() -> None:
    logits = np.random.default_rng(0).normal(size=(16, 4)) + 100
    found = compare({"y": logits}, {"y": np.full_like(logits, 100)})
    loose = GATE.parity.model_copy(update={"variation_db_min": -300.0})
    assert "same for every sample" in judge_parity(found, loose, classes=["y"]).reason
    two = np.where(logits > 100, 100.5, 99.5)
    found = compare({"y": np.concatenate([logits, logits])}, {"y": np.concatenate([two, two])})
    assert "2 distinct values, the framework at least 32" in judge_parity(found, loose).reason
    # Saturated probabilities of few classes take as few values, and lose nothing of what counts.
    assert judge_parity(found, loose, classes=["y"]).status == "PASS"


def test_integers_are_judged_by_how_many_are_equal() -> None:
    numbers = np.arange(100).reshape(50, 2)
    assert judge_parity(compare({"y": numbers}, {"y": numbers}), GATE.parity).status == "PASS"
    assert "50.0% of its integers" in judge_parity(compare({"y": numbers}, {"y": numbers // 2 * 2}), GATE.parity).reason


def test_an_alarm_that_never_rings_is_no_pass_although_most_of_its_values_are_equal() -> None:
    """Eight truth values of which one is on half of the time, and the others in one of twenty samples."""
    rng = np.random.default_rng(0)
    alarms = rng.random((400, 8)) < np.array([0.5] + [0.05] * 7)
    silent = alarms & (np.arange(8) == 0)
    found = judge_parity(compare({"y": alarms}, {"y": silent}, {"y": (1,)}), GATE.parity)
    assert found.status == "FAIL_PARITY"
    assert "a constant would be closer (9" in found.reason
    flipped = np.where(rng.random(alarms.shape) < 0.01, ~alarms, alarms)
    assert judge_parity(compare({"y": alarms}, {"y": flipped}, {"y": (1,)}), GATE.parity).status == "PASS"


def test_what_misses_its_limit_within_the_models_own_noise_is_undecided() -> None:
    """The framework against itself, on inputs moved by one rounding, is as far off as the file is."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(64, 4))

    def off(decibels: float) -> Parity:
        noise = rng.normal(size=reference.shape) * 10 ** (-decibels / 20)
        return compare({"y": reference}, {"y": reference + noise}, {"y": (1,)})

    limits = parity(FP32)
    assert judge_parity(off(44), limits).status == "FAIL_PARITY"
    status, reason, hint = judge_parity(off(44), limits, floor=off(45))
    assert status == "UNDECIDED"
    assert "SQNR 4" in reason
    assert "the model amplifies rounding on these inputs" in reason
    assert "real ones" in hint
    assert judge_parity(off(44), limits, floor=off(60)).status == "FAIL_PARITY"  # a wrong file on steady inputs
    assert judge_parity(off(10), limits, floor=off(45)).status == "FAIL_PARITY"  # worse than the noise
    assert judge_parity(off(120), limits, floor=off(45)).status == "PASS"
    broken = compare({"y": reference}, {"y": np.where(reference > 2, np.nan, reference)})
    assert judge_parity(broken, limits, floor=off(45)).status == "FAIL_PARITY"


def test_ceilings() -> None:
    assert GATE.beyond_ceilings(INT8) == []
    assert any("sqnr_db_min" in s for s in GATE.beyond_ceilings(FP32))
    loose = Gate.model_validate(
        {
            "parity": {**parity(INT8).model_dump(), "sqnr_db_min": 5, "cosine_min": 0.5},
            "top1": {"drop_max": 0.1},
            "map": {"drop_max": 0.1},
            "relative": {"drop_max": 0.5},
        }
    )
    assert len(loose.beyond_ceilings(INT8)) == 5


@pytest.mark.parametrize(
    "change",
    [{"top1": {"drop_max": 0}}, {"top1": {"drop_max": 0.01, "extra": 1}}, {"recall": {"drop_max": 0.1}}, {"map": None}],
)
def test_gate_refuses_what_it_does_not_know(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Gate.model_validate({**GATE.model_dump(), **change})


def test_what_a_target_leaves_out_is_the_default_of_its_precision() -> None:
    filled = with_defaults(INT8, {"parity": {"cosine_min": 0.99}, "recall": {"drop_max": 1}})
    assert filled["parity"] == {**parity(INT8).model_dump(), "cosine_min": 0.99}
    assert filled["relative"] == {"drop_max": 0.02}
    with pytest.raises(ValidationError, match="recall"):
        Gate.model_validate(filled)


def test_gate_is_read_without_numpy() -> None:
    code = "import sys, edgekit.target; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_no_score(value: float) -> None:
    """Not a number is below no limit."""
    good = compare({"y": np.eye(9)}, {"y": np.eye(9) + 1e-3}).model_dump(mode="json")
    output = {"y": {**good["per_output"]["y"], "cosine": value}}
    for changed in ({"sqnr_db": value}, {"per_output": output}):
        with pytest.raises(ValidationError):
            Parity.model_validate({**good, **changed})
