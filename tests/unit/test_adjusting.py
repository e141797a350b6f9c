"""Weights that cannot be adjusted: a conversion goes on without where nobody asked; who asked is told how to."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit import pipeline
from edgekit import target as targets
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import adjusting
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.order import Order
from edgekit.data.plan import DataPlan
from edgekit.errors import FailedError
from edgekit.signature import WHOLE, Signature
from edgekit.sources import source as sources


def given(**asked: Any) -> tuple[Any, Order, Checkpoint, Any]:
    source = sources.with_framework(sources.resolve("mlp"), "torch")
    order = Order(source, targets.load("openvino-int4"), DataPlan(task="digits"), **asked)
    checkpoint = Checkpoint(source, {WHOLE: source}, {WHOLE: Signature((), ())}, "torch", "torch")

    def step(*_: Any) -> Any:
        raise FailedError("edgekit.steps.adjust:run raised IndexError: whatever")

    return SimpleNamespace(step=step), order, checkpoint, SimpleNamespace(parts={WHOLE: "samples.npz"}, count=3)


@pytest.mark.parametrize("asked", [{}, {"equalize": "none"}])
def test_a_target_that_rounds_by_itself_goes_on_without(asked: Any) -> None:
    found = adjusting.adjusted(*given(**asked))
    assert not found.changed
    assert found.notes == (
        "weights were rounded to the nearest, since GPTQ failed: edgekit.steps.adjust:run raised IndexError: whatever",
    )


def test_an_attempt_that_the_target_makes_by_itself_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The routes that were tried say how the conversion ended."""
    _, order, checkpoint, _ = given()
    order = replace(order, target=targets.load("tflite-int8"))
    trial: Any = SimpleNamespace(order=order, checkpoint=checkpoint)
    tried = [Candidate("ptq-w8a8-quantizer", "FAIL_ACCURACY")]

    def prepare(run: Any, order: Order) -> Any:
        assert order.equalize == "smoothquant"
        raise FailedError("edgekit.steps.adjust:run raised IndexError: whatever")

    monkeypatch.setattr(pipeline, "prepare", prepare)
    assert pipeline.equalized(SimpleNamespace(), trial, tried) is None  # type: ignore[arg-type]
    # Nothing that could be scaled: the same routes would give the same files.
    monkeypatch.setattr(pipeline, "prepare", lambda run, order: trial)
    assert pipeline.equalized(SimpleNamespace(), trial, tried) is None  # type: ignore[arg-type]
    assert pipeline.equalized(SimpleNamespace(), trial, [Candidate("a", "PASS")]) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", [{"rounding": "gptq"}, {"equalize": "awq"}])
def test_who_asked_for_it_is_told_how_to_do_without(asked: Any) -> None:
    with pytest.raises(FailedError, match="raised IndexError") as caught:
        adjusting.adjusted(*given(**asked))
    assert caught.value.hint == "Pass --rounding nearest and no --equalize."


@pytest.mark.parametrize(
    ("statuses", "of"), [(("FAIL_ACCURACY", "UNDECIDED"), "smoothquant"), (("UNDECIDED", "FAIL_PARITY"), None)]
)
def test_a_result_speaks_of_the_model_that_was_chosen(
    statuses: tuple[Any, Any], of: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is undecided is run on the test samples: of the scaled model's file, against the scaled model."""
    _, order, checkpoint, _ = given()
    order = replace(order, target=targets.load("tflite-int8"))
    finished: list[Any] = []

    def prepare(run: Any, order: Order) -> Any:
        recipe = order.equalize
        twin = calibration = selection = None
        own = replace(checkpoint, recipe=recipe)
        return SimpleNamespace(order=order, checkpoint=own, twin=twin, calibration=calibration, selection=selection)

    def tried(run: Any, trial: Any, planned: Any) -> list[Candidate]:
        recipe = trial.checkpoint.recipe
        return [Candidate("ptq-w8a8-quantizer", statuses[recipe is not None], recipe=recipe)]

    monkeypatch.setattr(pipeline, "prepare", prepare)
    monkeypatch.setattr(pipeline, "try_routes", tried)
    monkeypatch.setattr(pipeline.trying, "plan", lambda run, trial: None)
    monkeypatch.setattr(pipeline, "finish", lambda run, trial, chosen: finished.append(trial) or chosen)
    monkeypatch.setattr(pipeline, "test_once", lambda run, trial, chosen: finished.append(trial) or (None, None))
    outcome = pipeline.explore(SimpleNamespace(), order)  # type: ignore[arg-type]
    assert [one.recipe for one in outcome.candidates] == [None, "smoothquant"]
    assert outcome.chosen is not None and outcome.chosen.recipe == of
    assert outcome.checkpoint.recipe == of and {trial.checkpoint.recipe for trial in finished} == {of}
