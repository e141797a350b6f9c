"""Choices of the main path that need no runtime."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit import target as targets
from edgekit.artifact import package
from edgekit.checkpoint import Checkpoint
from edgekit.compress import recipes
from edgekit.conversion import trying
from edgekit.conversion.candidate import NO_ROUTE, Candidate, Evidence, choose, final, is_slow, near
from edgekit.jobs import wire
from edgekit.limits import Gate, with_defaults
from edgekit.proof.judge import judge_latency
from edgekit.result import Accuracy
from edgekit.result.speed import Latency
from edgekit.schemes import SCHEMES
from edgekit.sources import source as sources
from edgekit.steps import describe

GATE = Gate.model_validate(with_defaults(SCHEMES["int8"], {}))


def facts(verdict: Any, ratio: float, spread: float = 0.02) -> Latency:
    return Latency(
        float_cpu_ms=0.1, artifact_cpu_ms=0.1 * ratio, ratio=ratio, ratio_ci95=(ratio, ratio + spread), verdict=verdict,
        noisy=False, blocks=41, runs_per_block=(10, 10), wall_over_cpu=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("float_ms", "ratio", "verdict"),
    [
        (1.0, (0.4, 0.6), "FASTER"),
        (1.0, (0.9, 1.0), "SAME"),
        (1.0, (1.05, 3.0), "SAME"),
        (1.0, (1.051, 1.2), "SLOWER"),
        (0.2, (1.06, 1.2), "SLOWER"),
        (0.19, (1.06, 1.2), "TOO_SMALL_TO_TELL"),  # quantizing the input of a tiny model takes that much
        (0.19, (0.1, 0.2), "TOO_SMALL_TO_TELL"),
        (0.01, (1.75, 2.0), "TOO_SMALL_TO_TELL"),
        (0.01, (1.76, 2.0), "SLOWER"),  # BERT with norms in int8
        (0.05, (47.0, 49.0), "SLOWER"),
    ],
)
def test_a_file_is_slower_where_that_is_certain(float_ms: float, ratio: tuple[float, float], verdict: str) -> None:
    assert judge_latency(float_ms, ratio) == verdict
    assert is_slow(facts(verdict, ratio[0])) == (verdict == "SLOWER")


@pytest.mark.parametrize(
    ("ratios", "spread", "chosen"),
    [
        ({"first": 1.44, "second": 1.41, "third": 1.90}, 0.02, "first"),  # a tie: noise would choose in each run
        ({"first": 1.51, "second": 1.41, "third": 1.44}, 0.02, "second"),
        ({"first": 1.51, "second": 1.41, "third": 1.44}, 0.20, "first"),  # a busy machine: the intervals meet
    ],
)
def test_of_slow_routes_the_fastest_is_chosen_and_the_first_of_a_tie(
    ratios: dict[str, float], spread: float, chosen: str
) -> None:
    made = [Candidate(name, "PASS", latency=facts("SLOWER", ratio, spread)) for name, ratio in ratios.items()]
    found = choose(made, GATE)
    assert found is not None
    assert found.route == chosen


def undecided(route: str, drop: float, ratio: float) -> Candidate:
    accuracy = Accuracy.model_validate(
        {"metric": "top1", "higher_is_better": True, "samples": 60, "float": 0.9, "checkpoint": 0.9, "agreement": 1.0,
         "artifact": 0.9 - drop, "drop": drop, "drop_ci95": (-0.05, 0.1)}
    )  # fmt: skip
    return Candidate(
        route, "UNDECIDED", evidence=Evidence("selection", "", False, {}, accuracy), latency=facts("SLOWER", ratio)
    )


@pytest.mark.parametrize(
    ("made", "chosen"),
    [
        ([undecided("a", 0, 3.2), undecided("b", 0, 1.29)], "b"),  # the slowest file without a word
        ([undecided("a", 0.05, 1.1), undecided("b", 0, 1.29)], "b"),  # more samples would probably refuse it
        ([undecided("a", 0.05, 3.1), undecided("b", 0.02, 1.29)], "b"),
        ([undecided("a", 0, 1.1), Candidate("b", "PASS", latency=facts("SLOWER", 1.29))], "b"),
        ([Candidate("a", "FAIL_PARITY"), undecided("b", 0.05, 1.29)], "b"),
    ],
)
def test_undecided_candidates_are_chosen_by_their_latency_too(made: list[Candidate], chosen: str) -> None:
    found = choose(made, GATE)
    assert found is not None
    assert found.route == chosen


@pytest.mark.parametrize(
    ("made", "worth_it"),
    [
        ([undecided("a", 0, 1)], False),  # of 60 samples not even a file that changes nothing passes
        ([Candidate("a", "FAIL_PARITY"), undecided("b", 0, 1)], False),
        ([undecided("a", 0.05, 1)], True),
        ([Candidate("a", "FAIL_PARITY")], True),
        ([Candidate("a", "UNSUPPORTED")], False),
    ],
)
def test_other_weights_are_not_tried_where_samples_alone_are_missing(made: list[Candidate], worth_it: bool) -> None:
    assert near(made, GATE) == worth_it


def test_a_stand_in_has_no_latency_to_judge() -> None:
    assert not is_slow(None)


@pytest.mark.parametrize(
    "changed",
    [None, [], {}, {"notes": [1]}, {"framework": "x"}, {"signature": {}}, {"signature": {"inputs": 1, "outputs": []}}],
)
def test_what_a_child_says_of_a_model_is_held_to_what_it_should_be(changed: Any) -> None:
    """One that has loaded a file of others may say anything."""
    said = {"signature": {"inputs": [{"name": "x", "shape": [1]}], "outputs": [], "state": []}, "framework": "torch"}
    said |= {"notes": ["one"], "checkpoint": None}
    assert wire.answer(describe.run, said).signature.inputs[0].shape == (1,)
    with pytest.raises(ValueError):
        wire.answer(describe.run, {**said, **changed} if changed else changed)


def test_what_may_help_is_what_was_not_tried() -> None:
    target = targets.load("tflite-int4")
    failed = Candidate("route", "FAIL_ACCURACY", "it loses.")
    said = final(target, [failed], failed, None)
    assert said.reason == "it loses.", "the next step is said once, beside it"
    assert said.hint.startswith("Try --allow-mixed, or --target tflite-int8 ")
    assert "--allow-mixed" not in final(target, [failed], failed, None, allow_mixed=True).hint
    broken = Candidate("route", "UNSUPPORTED", "no such kernel")
    assert "--allow-mixed" not in final(target, [broken], None, None).hint
    known = replace(failed, hint="Give real inputs.")
    assert final(target, [known], known, None).hint.startswith("Give real inputs. Try --allow-mixed")


def scored(checkpoint: float, artifact: float) -> Evidence:
    accuracy = Accuracy(
        metric="top1", higher_is_better=True, samples=500, float_=0.9, checkpoint=checkpoint, artifact=artifact,
        drop=0.9 - artifact, drop_ci95=(0.01, 0.09), agreement=None,
    )  # fmt: skip
    return Evidence("selection", "it", False, {}, accuracy)


@pytest.mark.parametrize(
    ("checkpoint", "artifact", "own", "recipe", "precision"),
    [
        (0.868, 0.86, "3.20 points", True, False),  # no file of it could pass
        (0.892, 0.885, "0.80 points", True, True),  # it and the file together lose too much
        (0.898, 0.86, "", False, True),
        (0.91, 0.86, "", False, True),
    ],
)
def test_what_a_recipe_costs_is_not_blamed_on_the_precision(
    checkpoint: float, artifact: float, own: str, recipe: bool, precision: bool
) -> None:
    target = targets.load("tflite-int4")
    failed = Candidate("route", "FAIL_ACCURACY", "it loses", evidence=scored(checkpoint, artifact))
    said = final(target, [failed], failed, None, recipe=recipes.asked(prune="0.5", qat=1))
    assert (f"the checkpoint itself is {own} worse than your model" in said.reason) == bool(own)
    assert ("more epochs" in said.hint and "a smaller share" in said.hint) == recipe
    assert ("--target" in said.hint) == precision
    without = final(target, [failed], failed, None)
    assert without.reason == "it loses." and "epochs" not in without.hint, "nothing was trained"


def test_no_next_step_is_a_route_or_a_target_that_was_tried() -> None:
    target = targets.load("tflite-fp32")
    other = Candidate("script", "UNSUPPORTED", "it takes a ScriptModule", serves=False)
    twice = [Candidate(route, "UNSUPPORTED", "no such kernel") for route in ("a", "b")]
    said = final(target, [*twice, other], None, None)
    assert said.reason == "a, b: no such kernel.", "each reason once, and none of a route for other sources"
    assert said.hint == "Another format may take it: --target executorch-fp32 or onnxruntime-fp32 or openvino-fp32."
    beside = ("openvino-fp32", "executorch-fp32")
    assert final(target, twice, None, None, beside=beside).hint == (
        "Another format may take it: --target onnxruntime-fp32."
    )
    int4 = targets.load("tflite-int4")
    failed = Candidate("route", "FAIL_PARITY", "it loses")
    every = targets.gentler(int4)
    assert f"--target {every[1]} or" in final(int4, [failed], failed, None, beside=every[:1]).hint
    assert "--target" not in final(int4, [failed], failed, None, beside=every).hint


def test_a_float_file_that_fails_is_not_told_to_try_itself() -> None:
    order = SimpleNamespace(target=targets.load("tflite-fp32"), beside=())
    trial: Any = SimpleNamespace(order=order)
    error = trying.unproven(trial, [Candidate("a", "FAILED", "it crashed")])
    assert "tflite" not in error.hint and "onnxruntime-fp32" in error.hint
    told = trying.unproven(trial, [Candidate("a", "FAILED", "it crashed", hint="Do this.")])
    assert told.hint == "Do this."


def test_a_file_beyond_its_budget_is_not_told_to_take_more_bits() -> None:
    costly = Candidate("route", "FAILED", "it is larger", hint="Allow it more.", too_costly=True)
    assert final(targets.load("tflite-int4"), [costly], costly, None)[1:] == ("it is larger", "Allow it more.")


def test_joined_names_are_cut_where_they_are_told() -> None:
    joined = "net/bn/add;net/conv/convolution;;net/pad (int8)"
    assert package._first([joined, "fc", "sum;1"]) == "net/bn/add;... (int8), fc, sum;1"


@pytest.mark.parametrize(
    ("recipe", "labelled", "by"),
    [
        (None, True, "torch (torch)"),
        ("gptq", True, "the rounded model in torch (torch)"),
        ("awq, gptq", True, "the rounded model in torch (torch)"),
        ("cle", True, "the equalized model in torch (torch)"),
        ("qat", True, "the trained model in torch (torch)"),
        ("finetune, gptq", True, "the rounded model in torch (torch)"),
        ("gptq", False, "torch (torch)"),  # parity is then taken against the source
    ],
)
def test_parity_says_whose_outputs_it_is_against(recipe: str | None, labelled: bool, by: str) -> None:
    answered = SimpleNamespace(value=SimpleNamespace(by="torch (torch)"))
    samples: Any = SimpleNamespace(reference=answered, labelled=labelled, split="test")
    plan = SimpleNamespace(share=lambda split: 1.0, generated=False)
    checkpoint = Checkpoint(sources.resolve("mlp@torch"), {}, {}, "torch", "torch", recipe=recipe)
    trial: Any = SimpleNamespace(checkpoint=checkpoint, order=SimpleNamespace(plan=plan))
    scores: Any = SimpleNamespace(accuracy=None)
    assert trying.as_judged(trial, samples, scores).reference == by


def test_what_stands_for_no_route_is_not_called_one() -> None:
    target = targets.load("onnxruntime-fp32")
    said = final(
        target, [Candidate(NO_ROUTE, "UNSUPPORTED", "it has no route for this", hint="Hand in another.")], None, None
    )
    assert (said.status, said.hint) == ("UNSUPPORTED", "Hand in another.")
    assert said.reason.startswith("it has no route for this.")
