"""Weights left out, or trained where they will lie: another checkpoint of a source, by the steps of a recipe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edgekit import toolchains
from edgekit.checkpoint import Checkpoint
from edgekit.compress.recipes import Step
from edgekit.conversion import adjusting, loading
from edgekit.conversion.order import TRAINABLE, Order
from edgekit.conversion.recipe import cost
from edgekit.conversion.samples import SplitFiles
from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit.jobs.interruption import Interrupted
from edgekit.jobs.run import Ref, Run
from edgekit.jobs.store import Entry
from edgekit.jobs.workers import Limits
from edgekit.result.recipe import EpochFacts, NarrowingFacts, PrunedLayer, PruningFacts, RecipeFacts, StepFacts
from edgekit.scheme import Range
from edgekit.signature import WHOLE
from edgekit.sources.source import Source, with_weights
from edgekit.steps.recipe import channels, fit

#: Seconds that training may take, where --timeout says no more: what a step of conversion may take is no measure of it.
_LONGEST = 24 * 3600.0
#: Layers that a note names.
_NAMED = 10


def trained(run: Run, order: Order, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint after the order's recipe, with what each step did.

    Raises:
        UnsupportedError: the source cannot be trained; it says what can be.
        UsageError: there is nothing to train it on.
    """
    found = _followed(run, order, checkpoint, _train)
    assert found is not None
    return found


def so_far(run: Run, order: Order, checkpoint: Checkpoint) -> Checkpoint | None:
    """The same where ``trained`` did not come to its end, with the best epoch that there is; None where is none."""
    return _followed(run, order, checkpoint, _left)


#: ``(run, kind of child, label, request) -> what training gave, and whether it has ended``; None: nothing.
_Done = tuple[Entry[fit.FitAnswer], bool] | None
_Way = Callable[[Run, str, str, fit.FitRequest], _Done]


def _followed(run: Run, order: Order, checkpoint: Checkpoint, way: _Way) -> Checkpoint | None:
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
    # Here already, since what the metric cannot read is said before training:
    source = cost.of_source(run, order, checkpoint) if way is _train else None
    facts: list[StepFacts] = []
    notes = list(checkpoint.notes)
    for step in order.recipe.steps:
        held = RecipeFacts(name=order.recipe.name, steps=tuple(facts)).pruned
        narrowed = _narrowed(run, order, checkpoint, child, step, anew=way is _train)
        if narrowed is None:
            break
        part, narrowing = narrowed
        request = _request(order, checkpoint, part, child, step, samples, selection, held=held)
        before = run.ledger.cpu_seconds.get("train", 0.0)
        done = way(run, child, f"train:{step.kind}", request)
        if done is None:
            break
        entry, ended = done
        seconds = round(run.ledger.cpu_seconds.get("train", 0.0) - before, 3)
        facts.append(_facts(order, step, entry.value, samples, selection, narrowing, seconds))
        if source is None:
            source = cost.of_source(run, order, checkpoint)
        notes += _notes(facts[-1], request, entry.value, source.float_)
        weights = with_weights(request.source, Ref(entry, entry.value.file).path)
        checkpoint = replace(checkpoint, parts={**checkpoint.parts, WHOLE: weights})
        if not ended:
            break
    if not facts or source is None:
        return None
    recipe = RecipeFacts(name=order.recipe.name, steps=tuple(facts), source=source.float_)
    found = replace(checkpoint, recipe=order.recipe.words, steps=recipe, notes=tuple(notes))
    # Where activations are trained, too, it is not the end.
    return found if order.trains_activations else cost.noted(run, order, found, source)


def _train(run: Run, child: str, label: str, request: fit.FitRequest) -> _Done:
    """Train, and say of whatever ends it early what is not lost."""
    limits = run.workers.limits
    limits = replace(limits, seconds=max(limits.seconds, _LONGEST)) if limits else Limits(_LONGEST)
    try:
        return run.step(fit.fitted, child, label, request, limits=limits), True
    except (EdgekitError, Interrupted, KeyboardInterrupt) as error:
        if (found := run.so_far(fit.fitted, child, label, request)) is not None:
            epoch = len(found[0].value.losses)
            again = "begins anew, since your loop does" if request.own else f"goes on behind epoch {epoch}"
            add(error, f"Of {request.training.epochs} epochs {epoch} were complete: the same command {again}.")
        raise


def _left(run: Run, child: str, label: str, request: fit.FitRequest) -> _Done:
    """What training has got, of which nothing more is made."""
    found = run.so_far(fit.fitted, child, label, request)
    if found is None or found[1]:
        return found
    entry, ended = found
    return replace(entry, value=replace(entry.value, stopped="it did not come to its end")), ended


def add(error: BaseException, said: str) -> None:
    """Say more of what ends a command early."""
    if isinstance(error, EdgekitError):
        error.hint = " ".join(filter(None, (error.hint, said)))
    else:
        error.add_note(said)


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
    ranges: tuple[Range, ...],
    places: fit.Places,
) -> tuple[Checkpoint, StepFacts]:
    """Follow a step once more, with the ranges of a file's activations; what was pruned stays so.

    Returns the checkpoint, and what was done.
    """
    assert checkpoint.steps is not None
    child, part = _child(checkpoint), checkpoint.parts[WHOLE]
    held = checkpoint.steps.pruned
    request = _request(order, checkpoint, part, child, step, samples, selection, held=held)
    before = run.ledger.cpu_seconds.get("train", 0.0)
    biases = toolchains.integer_biases(order.target.toolchain)
    request = replace(request, ranges=ranges, places=places, biases=biases)
    done = _train(run, child, f"train:{step.kind}", request)
    assert done is not None
    entry, _ = done
    seconds = round(run.ledger.cpu_seconds.get("train", 0.0) - before, 3)
    facts = _facts(order, step, entry.value, samples, selection, None, seconds)
    weights = with_weights(part, Ref(entry, entry.value.file).path)
    trained = replace(checkpoint, parts={**checkpoint.parts, WHOLE: weights}, nodes=entry.value.nodes)
    return trained, facts.model_copy(update={"activations": "carried", "ranges": len(ranges)})


def _request(
    order: Order,
    checkpoint: Checkpoint,
    part: Source,
    child: str,
    step: Step,
    samples: SplitFiles,
    selection: SplitFiles,
    *,
    held: tuple[PrunedLayer, ...],
) -> fit.FitRequest:
    target, plan = order.target, order.plan
    assert plan.metric is not None
    folding = getattr(toolchains.facts(target.toolchain), "FOLDS_NORMS_OF", ())
    rounds = step.kind == "qat"  # what does not is the same for all targets, and is done once for them
    return fit.FitRequest(
        source=part,
        environment=child,
        signatures=checkpoint.signatures,
        scheme=target.scheme if rounds else None,
        kinds=toolchains.layers(target.toolchain, target.layers) if rounds else (),
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
        own=order.fit,
    )


def _facts(
    order: Order,
    step: Step,
    found: fit.FitAnswer,
    samples: SplitFiles,
    selection: SplitFiles,
    narrowing: NarrowingFacts | None,
    seconds: float,
) -> StepFacts:
    target, metric = order.target, order.plan.metric
    assert metric is not None
    curve = zip(range(len(found.values)), (None, *found.losses), found.values, strict=True)
    return StepFacts(
        kind=step.kind,
        settings=step.settings,
        layers=found.layers,
        pruning=_pruning(step, found),
        held=found.held,
        narrowing=narrowing,
        without_rule=found.unruled,
        metric=metric,
        train_samples=samples.count,
        train_sha256=samples.entry.value.sha256 or "",
        dropped=samples.entry.value.dropped,
        selection_samples=selection.count,
        curve=tuple(EpochFacts(epoch=epoch, loss=loss, value=value) for epoch, loss, value in curve),
        kept=found.kept,
        stopped=found.stopped,
        activations="calibrated" if target.needs_calibration else "dynamic" if target.scheme.dynamic else "float",
        cpu_seconds=seconds,
    )


def _narrowed(
    run: Run, order: Order, checkpoint: Checkpoint, child: str, step: Step, *, anew: bool
) -> tuple[Source, NarrowingFacts | None] | None:
    """What a step trains: the source, without some channels where the step takes them out, and which.

    None where that has not been made, and is not to be made ``anew``.
    """
    part = checkpoint.parts[WHOLE]
    if step.narrowing is None:
        return part, None
    request = channels.CutRequest(part, child, step.narrowing, step.keep, step.residual, order.allow_mixed)
    label = "prune:channels"
    if anew:
        entry = run.step(channels.narrowed, child, label, request)
    elif (made := run.so_far(channels.narrowed, child, label, request)) is not None and made[1]:
        entry = made[0]
    else:
        return None
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


def scores(step: StepFacts, source: float | None, untrained: str) -> str:
    """What a step came from and to: the source's score, that of epoch 0 and that of the epoch that was kept."""
    first, kept = step.curve[0].value, step.curve[step.kept].value
    own = f"{source:.4f} of your model, " if source is not None else ""
    after = f", {kept:.4f} after epoch {step.kept}, which is kept" if step.kept else ", which no epoch made better"
    on = f"{step.metric} on {_counted(step.selection_samples, 'selection sample')}"
    return f"{on}: {own}{first:.4f} {untrained}{after}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


#: What epoch 0 of a step is.
_UNTRAINED = {"prune": "with its zeros and untrained", "qat": "rounded and untrained", "finetune": "untrained"}


def _notes(step: StepFacts, request: fit.FitRequest, found: fit.FitAnswer, source: float) -> list[str]:
    """What the user must know of a step, a sentence each."""
    what = f"{step.layers} weight tensors on the target's grid" if step.kind == "qat" else "all in float"
    if (pruning := step.pruning) is not None:
        weights = sum(layer.weights for layer in pruning.layers)
        what = f"{pruning.zeros:.1%} of {weights} weights of {len(pruning.layers)} layers zero ({pruning.pattern})"
    if (narrowing := step.narrowing) is not None:
        wide, narrow = narrowing.parameters
        what = f"{narrow} of {wide} weights left ({narrowing.pattern})"
    by = f" by {Path(request.own.path).name}:{request.own.name}" if request.own else ""
    epochs = f"{_counted(len(step.curve) - 1, 'epoch')} of {_counted(step.train_samples, 'sample')}"
    untrained = "cut and untrained" if narrowing is not None else _UNTRAINED[step.kind]
    notes = [f"{step.kind}: trained{by} for {epochs}, {what}; {scores(step, source, untrained)}"]
    if found.behind:
        notes.append(
            f"{step.kind} went on behind epoch {found.behind} of an earlier run: CPU seconds are of the rest alone"
        )
    if step.stopped:
        notes.append(f"{step.kind} ended early: {step.stopped}")
    if step.without_rule:
        stay = "not pruned" if step.kind == "prune" else "without fake quantization, trained in float"
        notes.append(f"{step.kind}: {stay}: {', '.join(step.without_rule)}")
    if pruning is not None and pruning.left:
        notes.append(f"{step.kind}: not pruned: {'; '.join(pruning.left)}")
    if narrowing is not None and narrowing.left:
        notes.append(f"{step.kind}: these keep their channels: {'; '.join(narrowing.left)}")
    if found.frozen:
        stay = "on the target's grid, and not trained" if step.kind == "qat" else "as they were"
        cut = ", with the channels that they share" if narrowing is not None else ""
        notes.append(f"{step.kind}: frozen by the model, so {stay}{cut}: {_layers_of(found.frozen)}")
    notes += [f"{step.kind}: {warning}" for warning in found.warnings]
    if step.dropped:
        notes.append(f"{step.dropped} training samples were left out: they are among the evaluation samples, too")
    return notes


def _layers_of(names: Sequence[str]) -> str:
    """The layers of some weights, the first few by name."""
    layers = list(dict.fromkeys(re.split(r"[./](?=[^./]*$)", name)[0] for name in names))
    more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    return f"{', '.join(layers[:_NAMED])}{more}"
