"""Ranges of activations that training has, carried into the file of the target's first route that takes them.

A file is made of the checkpoint first: where its activations are quantized, and with which ranges, is the route's
decision. Training goes on with the same activations on the same steps, and the file of the new weights gets these
ranges again, whatever its own calibration would say.
"""

from __future__ import annotations

import math
from dataclasses import replace

from edgekit import toolchains
from edgekit.checkpoint import Checkpoint
from edgekit.compress.recipes import Step
from edgekit.conversion import loading, trying
from edgekit.conversion.candidate import Candidate, WrittenPart
from edgekit.conversion.plan import Plan, PlannedRoute
from edgekit.conversion.recipe import cost, training
from edgekit.conversion.trying import Trial
from edgekit.errors import FailedError, UnsupportedError
from edgekit.jobs.run import Ref, Run
from edgekit.jobs.store import Entry
from edgekit.result.recipe import RecipeFacts
from edgekit.scheme import Range, tensors_of
from edgekit.signature import WHOLE
from edgekit.steps import convert
from edgekit.steps.recipe import fit, places

#: Weights are near where they will stay, and BatchNorm's statistics are kept: so much of the step's learning rate.
_GENTLY = 0.1
#: Epochs of a step for each epoch with activations on their steps, too.
_SHARE = 3


def trained(run: Run, trial: Trial, planned: Plan, checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint trained on with its activations on the steps of a file.

    Where that cannot be, it stays as it is, with a note: the routes find ranges by calibration.

    Args:
        run: the run.
        trial: what the routes start from, of the checkpoint as it is.
        planned: the routes.
        checkpoint: with its weights on the grid.
    """
    assert trial.order.recipe is not None and trial.calibration is not None and trial.twin is not None
    step = [one for one in trial.order.recipe.steps if one.kind == "qat"][-1]
    try:
        if trial.order.fit is not None:
            raise UnsupportedError("a loop of your own (--fit) trains the model, and not its graph")
        route = _route(run, trial, planned)
        made = trying.make_part(run, trial, WHOLE, planned.of_part(WHOLE), route)
        entry = _places(run, trial, route, made)
        other, facts = training.follow(
            run,
            trial.order,
            checkpoint,
            _gently(step),
            loading.gather(run, trial.order, checkpoint, "train", ran=False),
            trial.selection,
            entry.value,
            fit.Places(Ref(entry, places.VALUES), trial.calibration.file),
        )
    except (FailedError, UnsupportedError) as error:
        note = f"activations were not trained, and their ranges come from calibration samples: {error}"
        return _ended(run, trial, replace(checkpoint, notes=(*checkpoint.notes, note)))
    assert checkpoint.steps is not None
    on_steps = {one.tensor for one in entry.value} & set(other.nodes)
    note = (
        f"qat: trained on with {len(entry.value)} ranges of activations of a file by {route.name}, {len(on_steps)} "
        "of them with the activations on their steps; "
        + training.scores(facts, checkpoint.steps.source, "with them and untrained")
    )
    whole = replace(
        other,
        ranges=entry.value,
        route=route.name,
        steps=checkpoint.steps.model_copy(update={"steps": (*checkpoint.steps.steps, facts)}),
        notes=(*checkpoint.notes, note),
    )
    return _ended(run, trial, whole)


def _ended(run: Run, trial: Trial, checkpoint: Checkpoint) -> Checkpoint:
    """What training has come to, with a note where that is too far below the source."""
    return cost.noted(run, trial.order, checkpoint, cost.of_source(run, trial.order, checkpoint))


def renamed(run: Run, before: Trial, trial: Trial) -> Trial:
    """A trial whose ranges have the names of its own float file: of other weights some converters give others.

    Where that file is built otherwise, the routes find ranges by calibration, with a note.
    """
    checkpoint = trial.checkpoint
    if not checkpoint.ranges or before.twin is None or trial.twin is None:
        return trial
    asked = places.RenamedRequest(
        trial.order.target.toolchain, before.twin.parts[WHOLE].ref, trial.twin.parts[WHOLE].ref, checkpoint.ranges
    )
    try:
        ranges = run.step(places.renamed, "runtime", "places", asked).value
    except UnsupportedError as error:
        note = f"the ranges of the training are not in the file, which has those of calibration samples: {error}"
        facts = as_in_file(checkpoint, None)
        found = replace(checkpoint, ranges=(), route=None, nodes={}, steps=facts, notes=(*checkpoint.notes, note))
        return replace(trial, checkpoint=found)
    called = dict(zip(tensors_of(checkpoint.ranges), tensors_of(ranges), strict=True))
    nodes = {called[tensor]: node for tensor, node in checkpoint.nodes.items()}
    return replace(trial, checkpoint=replace(checkpoint, ranges=ranges, nodes=nodes))


def _places(run: Run, trial: Trial, route: PlannedRoute, made: WrittenPart) -> Entry[tuple[Range, ...]]:
    """The ranges of a file's activations, and the values of these on a few samples."""
    assert trial.calibration is not None and trial.twin is not None
    toolchain, checkpoint, samples = trial.order.target.toolchain, trial.checkpoint, trial.calibration.file
    signature = checkpoint.signatures[WHOLE]
    if made.ranges:
        source = checkpoint.parts[WHOLE]
        asked = places.GraphRequest(toolchain, source, route.environment, signature, made.ranges, samples)
        return run.step(places.in_graph, route.environment, "places", asked)
    of_file = places.PlacesRequest(toolchain, made.ref, trial.twin.parts[WHOLE].ref, signature, samples)
    return run.step(places.found, "runtime", "places", of_file)


def _route(run: Run, trial: Trial, planned: Plan) -> PlannedRoute:
    """The first of the target's routes that would be tried and takes ranges."""
    toolchain = trial.order.target.toolchain
    if not toolchains.reads_ranges(toolchain):
        raise UnsupportedError(f"ranges are not read from files of {toolchain}")
    facts = run.step(convert.routes, "runtime", "routes", convert.RoutesRequest(toolchain)).value
    for route in planned.routes:
        if route.passed_over is None and facts[route.name].takes_ranges:
            return route
    raise UnsupportedError("no route of the target takes given ranges for this model")


def _gently(step: Step) -> Step:
    """The last part of a step's epochs, once more."""
    epochs, rate = math.ceil(step.epochs / _SHARE), step.learning_rate * _GENTLY
    return step.model_copy(update={"epochs": epochs, "learning_rate": rate})


def as_in_file(checkpoint: Checkpoint, made: Candidate | None) -> RecipeFacts | None:
    """What the steps did, as a file has it: ranges that it did not get were found anew."""
    facts = checkpoint.steps
    if facts is None or not checkpoint.ranges or (made and any(part.given for part in made.parts.values())):
        return facts
    steps = [step.model_copy(update={"activations": "calibrated"}) for step in facts.steps]
    return facts.model_copy(update={"steps": tuple(steps)})
