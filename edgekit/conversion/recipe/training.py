"""Weights left out, or trained where they will lie: another checkpoint of a source, by the steps of a recipe."""

from __future__ import annotations

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
from edgekit.result.recipe import EpochFacts, NarrowingFacts, PruningFacts, RecipeFacts, StepFacts
from edgekit.signature import WHOLE
from edgekit.sources.source import Source, with_weights
from edgekit.steps.recipe import channels, fit

#: Seconds that training may take, where --timeout says no more: what a step of conversion may take is no measure of it.
_LONGEST = 24 * 3600.0


def trained(run: Run, order: Order, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint after the order's recipe, with what each step did.

    Raises:
        UnsupportedError: the source cannot be trained; it says what can be.
        UsageError: there is nothing to train it on.
    """
    assert order.recipe is not None
    child = _child(checkpoint)
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
        held = any(one.pruning is not None for one in facts)
        checkpoint, found = _step(run, order, checkpoint, child, step, samples, selection, held=held)
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


def _step(
    run: Run,
    order: Order,
    checkpoint: Checkpoint,
    child: str,
    step: Step,
    samples: SplitFiles,
    selection: SplitFiles,
    *,
    held: bool,
) -> tuple[Checkpoint, StepFacts]:
    target, plan, part = order.target, order.plan, checkpoint.parts[WHOLE]
    assert plan.metric is not None
    narrowing = None
    if step.narrowing is not None:
        part, narrowing = _narrowed(run, order, part, child, step)
    folding = getattr(toolchains.facts(target.toolchain), "FOLDS_NORMS_OF", ())
    rounds = step.kind == "qat"  # what does not is the same for all targets, and is done once for them
    request = fit.FitRequest(
        source=part,
        environment=child,
        signatures=checkpoint.signatures,
        scheme=target.scheme if rounds else None,
        kinds=target.layers if rounds else (),
        layers=order.layers if rounds else (),
        allow_mixed=order.allow_mixed,
        fold_norms=rounds and checkpoint.framework in folding,
        train=samples.file,
        selection=selection.file,
        metric=plan.metric,
        task=plan.task,
        training=step.training,
        pruning=step.pruning,
        held=held,
    )
    limits = run.workers.limits
    limits = replace(limits, seconds=max(limits.seconds, _LONGEST)) if limits else Limits(_LONGEST)
    before = run.ledger.cpu_seconds.get("train", 0.0)
    entry = run.step(fit.fitted, child, f"train:{step.kind}", request, limits=limits)
    found = entry.value
    curve = zip(range(len(found.values)), (None, *found.losses), found.values, strict=True)
    facts = StepFacts(
        kind=step.kind,
        settings=step.settings,
        layers=found.layers,
        pruning=_pruning(step, found),
        narrowing=narrowing,
        without_rule=found.unruled,
        metric=plan.metric,
        train_samples=samples.count,
        train_sha256=samples.entry.value.sha256 or "",
        dropped=samples.entry.value.dropped,
        selection_samples=selection.count,
        curve=tuple(EpochFacts(epoch=epoch, loss=loss, value=value) for epoch, loss, value in curve),
        kept=found.kept,
        stopped=found.stopped,
        activations="calibrated" if target.needs_calibration else "dynamic" if target.scheme.dynamic else "float",
        cpu_seconds=round(run.ledger.cpu_seconds["train"] - before, 3),
    )
    weights = with_weights(part, Ref(entry, found.file).path)
    return replace(checkpoint, parts={**checkpoint.parts, WHOLE: weights}), facts


def _narrowed(run: Run, order: Order, part: Source, child: str, step: Step) -> tuple[Source, NarrowingFacts]:
    """The source without some channels, and which."""
    assert step.narrowing is not None
    request = channels.CutRequest(part, child, step.narrowing, step.keep, step.residual, order.allow_mixed)
    entry = run.step(channels.narrowed, child, "prune:channels", request)
    found = entry.value
    facts = NarrowingFacts(
        pattern=str(step.pattern), widths=found.widths, left=found.refused, parameters=found.parameters,
        error=found.error,
    )  # fmt: skip
    return with_weights(part, Ref(entry, found.file).path), facts


def _pruning(step: Step, found: fit.FitAnswer) -> PruningFacts | None:
    if step.pruning is None:
        return None
    pattern = step.pruning.pattern
    return PruningFacts(
        pattern=str(pattern),
        scope=step.scope if pattern.of == "weights" else None,
        ramp=step.ramp,
        layers=found.pruned,
        left=found.left,
    )


def _notes(step: StepFacts) -> list[str]:
    """What the user must know of a step, a sentence each."""
    first, kept = step.curve[0].value, step.curve[step.kept].value
    what = f"{step.layers} weights on the target's grid" if step.kind == "qat" else "all in float"
    if (pruning := step.pruning) is not None:
        weights = sum(layer.weights for layer in pruning.layers)
        what = f"{pruning.zeros:.1%} of {weights} weights of {len(pruning.layers)} layers zero ({pruning.pattern})"
    if (narrowing := step.narrowing) is not None:
        before, after = narrowing.parameters
        what = f"{after} of {before} weights left without some channels ({narrowing.pattern})"
    epochs = f"{len(step.curve) - 1} epoch{'s' if len(step.curve) > 2 else ''}"
    notes = [
        f"{step.kind}: trained for {epochs} of {step.train_samples} samples, {what}; {step.metric} "
        f"on {step.selection_samples} selection samples {first:.4f} before, {kept:.4f} after epoch {step.kept}, which "
        "is kept"
    ]
    if step.stopped:
        notes.append(f"{step.kind} ended early: {step.stopped}")
    if step.without_rule:
        stay = "not pruned" if step.kind == "prune" else "without fake quantization, trained in float"
        notes.append(f"{step.kind}: {stay}: {', '.join(step.without_rule)}")
    if pruning is not None and pruning.left:
        notes.append(f"{step.kind}: not pruned: {'; '.join(pruning.left)}")
    if narrowing is not None and narrowing.left:
        notes.append(f"{step.kind}: these keep their channels: {'; '.join(narrowing.left)}")
    if step.dropped:
        notes.append(f"{step.dropped} training samples were left out: they are among the evaluation samples, too")
    if step.kind == "qat" and step.activations == "calibrated":
        notes.append("activations were not trained: their ranges come from calibration samples, as without a recipe")
    return notes
