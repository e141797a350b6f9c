"""What a recipe costs before any file is made: the source's own score, and a checkpoint that is too far below it."""

from __future__ import annotations

from dataclasses import replace

from edgekit.checkpoint import Checkpoint
from edgekit.conversion import loading
from edgekit.conversion.order import Order
from edgekit.jobs.run import Run
from edgekit.proof import accuracy, judge, metrics
from edgekit.result import Accuracy
from edgekit.sources import source as sources


def of_source(run: Run, order: Order, checkpoint: Checkpoint) -> Accuracy:
    """The score of the source as it was handed in, on the selection samples; its run is the one that files start from.

    Raises:
        UsageError: the metric cannot read its outputs.
    """
    parts = {part.part: part for part in sources.parts(checkpoint.source)}
    as_it_was = replace(checkpoint, parts=parts, recipe=None, ranges=(), steps=None)
    return loading.scored(run, order, as_it_was, loading.gather(run, order, as_it_was, "selection"))


def noted(run: Run, order: Order, checkpoint: Checkpoint, source: Accuracy) -> Checkpoint:
    """The checkpoint, with a note where it is by itself further below the source than a file of it may be."""
    assert order.recipe is not None and checkpoint.steps is not None
    step = checkpoint.steps.steps[-1]
    lost = accuracy.drop_to(source, step.curve[step.kept].value)
    limit = order.target.gate.drop_max(metrics.metric(source.metric).family)
    if not lost > limit:
        return checkpoint
    note = (
        f"the checkpoint itself is {judge.shown(lost, source.metric)} worse than your model on {source.samples} "
        f"selection samples, and a file may be {judge.shown(limit, source.metric)} worse. {order.recipe.gentler}"
    )
    run.progress("note", note)
    return replace(checkpoint, notes=(*checkpoint.notes, note))
