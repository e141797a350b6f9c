"""Weights trained where they will lie: another checkpoint of the same source, by the steps of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit import toolchains
from edgekit.checkpoint import Checkpoint
from edgekit.compress.recipes import Step
from edgekit.conversion import adjusting, loading
from edgekit.conversion.order import TRAINABLE, Order
from edgekit.conversion.samples import SplitFiles
from edgekit.errors import UnsupportedError, UsageError
from edgekit.jobs.run import Ref, Run
from edgekit.jobs.workers import Limits
from edgekit.result import Activations, EpochFacts, RecipeFacts, StepFacts
from edgekit.scheme import Range
from edgekit.signature import WHOLE
from edgekit.sources.source import with_weights
from edgekit.steps.recipe import fit
from edgekit.target import Target

#: Seconds that training may take, where --timeout says no more: what a step of conversion may take is no measure of it.
_LONGEST = 24 * 3600.0


def trained(run: Run, order: Order, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint after the order's recipe, with what each step did.

    Raises:
        UnsupportedError: the source cannot be trained; it says what can be.
        UsageError: there is nothing to train it on.
    """
    assert order.recipe is not None
    _child(checkpoint)
    plan = order.plan
    samples = loading.gather(run, order, checkpoint, "train", ran=False)
    selection = loading.gather(run, order, checkpoint, "selection", ran=False)
    if not (samples.labelled and selection.labelled and plan.metric):
        raise UsageError(
            "training needs labelled samples, and labelled ones that choose the epoch",
            hint="Give both with labels: --train DATA --evaluate DATA.",
        )
    facts: list[StepFacts] = []
    notes = list(checkpoint.notes)
    for step in order.recipe.steps:
        checkpoint, found = follow(run, order, checkpoint, step, samples, selection)
        facts.append(found)
        notes += _notes(found)
    recipe = RecipeFacts(name=order.recipe.name, steps=tuple(facts))
    return replace(checkpoint, recipe=order.recipe.words, steps=recipe, notes=tuple(notes))


def _child(checkpoint: Checkpoint) -> str:
    """The kind of child that trains it."""
    child, source = adjusting.able(checkpoint), checkpoint.source
    if checkpoint.streams:
        raise UnsupportedError(
            f"{source.given} is called step by step, and cannot be trained so", hint="Convert it without a recipe."
        )
    if child is None:
        raise UnsupportedError(
            f"{source.given} cannot be trained: it does not load on PyTorch or Keras's torch backend",
            hint=f"Hand in {TRAINABLE}, without operations of TensorFlow's own.",
        )
    return child


def follow(
    run: Run,
    order: Order,
    checkpoint: Checkpoint,
    step: Step,
    samples: SplitFiles,
    selection: SplitFiles,
    ranges: tuple[Range, ...] = (),
    places: fit.Places | None = None,
) -> tuple[Checkpoint, StepFacts]:
    """Follow one step; with the ranges of a file's activations, training has these on their steps, too.

    Returns the checkpoint, and what was done.
    """
    child = _child(checkpoint)
    target, plan, part = order.target, order.plan, checkpoint.parts[WHOLE]
    assert plan.metric is not None
    folding = getattr(toolchains.facts(target.toolchain), "FOLDS_NORMS_OF", ())
    request = fit.FitRequest(
        source=part,
        environment=child,
        signatures=checkpoint.signatures,
        scheme=target.scheme if step.kind == "qat" else None,
        kinds=target.layers,
        layers=order.layers,
        allow_mixed=order.allow_mixed,
        fold_norms=step.kind == "qat" and checkpoint.framework in folding,
        train=samples.file,
        selection=selection.file,
        metric=plan.metric,
        task=plan.task,
        training=step.training,
        ranges=ranges,
        places=places,
    )
    limits = run.workers.limits
    limits = replace(limits, seconds=max(limits.seconds, _LONGEST)) if limits else Limits(_LONGEST)
    before = run.ledger.cpu_seconds.get("train", 0.0)
    entry = run.step(fit.fitted, child, f"train:{step.kind}", request, limits=limits)
    found = entry.value
    curve = zip(range(len(found.values)), (None, *found.losses), found.values, strict=True)
    facts = StepFacts(
        kind=step.kind,
        settings={key: float(value) for key, value in step.model_dump(exclude={"kind"}).items()},
        layers=found.layers,
        ranges=len(ranges),
        without_rule=found.unruled,
        metric=plan.metric,
        train_samples=samples.count,
        train_sha256=samples.entry.value.sha256 or "",
        dropped=samples.entry.value.dropped,
        selection_samples=selection.count,
        curve=tuple(EpochFacts(epoch=epoch, loss=loss, value=value) for epoch, loss, value in curve),
        kept=found.kept,
        stopped=found.stopped,
        activations=_activations(target, ranges),
        cpu_seconds=round(run.ledger.cpu_seconds["train"] - before, 3),
    )
    weights = with_weights(part, Ref(entry, found.file).path)
    return replace(checkpoint, parts={**checkpoint.parts, WHOLE: weights}, nodes=found.nodes), facts


def _activations(target: Target, ranges: Sequence[Range]) -> Activations:
    """What training made of activations, for the manifest."""
    if ranges:
        return "carried"
    return "calibrated" if target.needs_calibration else "dynamic" if target.scheme.dynamic else "float"


def _notes(step: StepFacts) -> list[str]:
    """What the user must know of a step, a sentence each."""
    first, kept = step.curve[0].value, step.curve[step.kept].value
    what = f"{step.layers} weights on the target's grid" if step.kind == "qat" else "all in float"
    epochs = f"{len(step.curve) - 1} epoch{'s' if len(step.curve) > 2 else ''}"
    notes = [
        f"{step.kind}: trained for {epochs} of {step.train_samples} samples, {what}; {step.metric} "
        f"on {step.selection_samples} selection samples {first:.4f} before, {kept:.4f} after epoch {step.kept}, which "
        "is kept"
    ]
    if step.stopped:
        notes.append(f"{step.kind} ended early: {step.stopped}")
    if step.without_rule:
        notes.append(f"{step.kind}: without fake quantization, trained in float: {', '.join(step.without_rule)}")
    if step.dropped:
        notes.append(f"{step.dropped} training samples were left out: they are among the evaluation samples, too")
    return notes
