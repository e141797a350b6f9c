"""Weights that cannot be adjusted: a conversion goes on without where nobody asked; who asked is told how to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgekit import target as targets
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import adjusting
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


def test_a_target_that_rounds_by_itself_goes_on_without() -> None:
    found = adjusting.adjusted(*given())
    assert not found.changed
    assert found.notes == (
        "weights were rounded to the nearest, since GPTQ failed: edgekit.steps.adjust:run raised IndexError: whatever",
    )


@pytest.mark.parametrize("asked", [{"rounding": "gptq"}, {"equalize": "awq"}])
def test_who_asked_for_it_is_told_how_to_do_without(asked: Any) -> None:
    with pytest.raises(FailedError, match="raised IndexError") as caught:
        adjusting.adjusted(*given(**asked))
    assert caught.value.hint == "Pass --rounding nearest and no --equalize."
