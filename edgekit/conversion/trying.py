"""One route: convert, look into the file, execute it, score it, judge it, time it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgekit import target as targets
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import candidate as judging
from edgekit.conversion import loading
from edgekit.conversion.candidate import Candidate, Judged, WrittenPart
from edgekit.conversion.order import Order
from edgekit.conversion.plan import Plan, PlannedRoute, serving
from edgekit.conversion.samples import SplitFiles
from edgekit.errors import (
    DamagedFileError,
    EdgekitError,
    FailedError,
    NotRunError,
    OtherRouteError,
    UnsupportedError,
)
from edgekit.jobs.run import Ref, Run
from edgekit.proof import judge, metrics, precision
from edgekit.ranges.estimator import TOOL
from edgekit.result.parity import Parity
from edgekit.result.speed import Latency
from edgekit.scheme import Rule
from edgekit.schemes import FP32
from edgekit.signature import Trait
from edgekit.steps import audit, convert, execute, latency, reference, score, traits
from edgekit.steps.recipe import places
from edgekit.toolchains import Options


@dataclass(frozen=True)
class Trial:
    """What all routes of a target start from.

    Attributes:
        order: what was asked for.
        checkpoint: what is converted.
        calibration: samples that ranges come from; None where the target needs none.
        selection: samples that choose.
        twin: the proven float file of the same format; None where that is still to be made.
        label: what the user is shown of it.
    """

    order: Order
    checkpoint: Checkpoint
    calibration: SplitFiles | None
    selection: SplitFiles
    twin: Candidate | None = None
    label: str = "convert"

    @property
    def for_float_twin(self) -> Trial:
        """The same for the format's float file, which is held against the checkpoint alone, not against the source."""
        order = replace(
            self.order, target=targets.float_twin(self.order.target), search_routes=False, keep_float=(), rules=()
        )
        selection = replace(self.selection, source=None)
        return replace(self, order=order, calibration=None, selection=selection, label="float twin")


def plan(run: Run, trial: Trial) -> Plan:
    """Which of the target's routes serve this source, and which are passed over for what its graph is made of."""
    target = trial.order.target
    if trial.twin and (unserved := precision.unserved(target, {n: p.audit for n, p in trial.twin.parts.items()})):
        return Plan((), None, unserved)
    facts = run.step(convert.routes, "runtime", "routes", convert.RoutesRequest(target.toolchain)).value
    served = serving(trial.checkpoint, target, facts)
    asked = trial.twin is not None or any(route.asks for route, _ in served)
    found = {name: find_traits(run, trial, name) for name in trial.checkpoint.parts} if asked else None
    planned = Plan.of(trial.order, served, found).beginning_with(trial.checkpoint.route)
    for route in planned.routes:
        said = f"passed over, {route.passed_over.reason}" if route.passed_over else "planned"
        run.progress("detail", f"{target.name}, route {route.name}: {said}")
    return planned


def find_traits(run: Run, trial: Trial, name: str) -> frozenset[Trait]:
    """What the graph of a part is made of: of its proven float file, or of the model where that is still to be made."""
    checkpoint = trial.checkpoint
    if trial.twin is not None:
        file, states = trial.twin.parts[name].ref, checkpoint.signatures[name].state
        of_file = audit.TraitsRequest(trial.order.target.toolchain, file, states)
        return run.step(audit.traits, "runtime", "traits", of_file).value
    toolchain = "onnx" if checkpoint.environment == "onnx" else None
    request = traits.Request(checkpoint.parts[name], checkpoint.environment, toolchain)
    return run.step(traits.run, checkpoint.environment, "traits", request).value


def unproven(trial: Trial, tried: Sequence[Candidate]) -> EdgekitError:
    """That no float file could be proven, by any of the routes that were tried; to be raised."""
    target = trial.order.target
    serving = judging.serving(tried)
    if [c.route for c in serving] == [judging.NO_ROUTE]:
        return UnsupportedError(serving[0].reason, hint=serving[0].hint)
    reasons = "; ".join(f"{c.route}: {c.status} {c.reason}" for c in serving)
    statuses = {c.status for c in serving}
    kinds = {"UNSUPPORTED": UnsupportedError, "NOT_RUN": NotRunError}
    kind = kinds.get(statuses.pop(), FailedError) if len(statuses) == 1 else FailedError
    return kind(
        f"no fp32 {target.format} file of this model could be proven: {reasons}",
        hint=judging.advice(serving) or judging.elsewhere(target, trial.order.beside),
    )


def try_route(run: Run, trial: Trial, planned: Plan, route: PlannedRoute) -> Candidate:
    """Convert by one route, look into the file, execute it on selection samples, judge it.

    Where the ranges of the training make no file of what the target promises, the route finds ranges by calibration.
    """
    made = _try(run, trial, planned, route)
    if trial.checkpoint.ranges_for(route.name) and made.status in ("FAIL_PRECISION", "UNSUPPORTED", "FAILED"):
        note = f"ranges are of calibration samples, since those of the training gave {made.status}: {made.reason}"
        made = _try(run, replace(trial, checkpoint=replace(trial.checkpoint, ranges=())), planned, route)
        parts = {name: replace(part, notes=(*part.notes, note)) for name, part in made.parts.items()}
        made = replace(made, parts=parts)
    ended = f"{made.status} {made.latency.verdict or ''}" if made.latency else made.status
    run.progress("detail", f"{trial.order.target.name}, route {route.name}: {ended.strip()} {made.reason}".rstrip())
    return made


def _try(run: Run, trial: Trial, planned: Plan, route: PlannedRoute) -> Candidate:
    nothing = Candidate(route.name, "NOT_RUN", recipe=trial.checkpoint.recipe)
    made = nothing
    try:
        parts = {name: make_part(run, trial, name, planned.of_part(name), route) for name in trial.checkpoint.parts}
        made = replace(nothing, status="PASS", parts=parts)
        judging.check_kept(trial.order.layers, made)
        made = judging.judge_audit(trial.order.target, made, allow_mixed=trial.order.allow_mixed)
        made = judging.check_ranges(made)
        made = judging.judge_zeros(trial.checkpoint, made)
        if made.status == "FAIL_PRECISION":
            return made
        made = prove(run, trial, made, trial.selection, label=trial.label)
        return time_against_twin(run, trial, made)
    except UnsupportedError as error:
        serves = not isinstance(error, OtherRouteError)
        return replace(nothing, status="UNSUPPORTED", reason=str(error), hint=error.hint, serves=serves)
    except FailedError as error:
        return replace(nothing, status="FAILED", reason=str(error), hint=error.hint)
    except NotRunError as error:  # the files are there, for --allow-unproven
        return replace(made, status="NOT_RUN", reason=str(error), hint=error.hint)
    except DamagedFileError as error:
        if not made.parts:
            raise  # the source is damaged, not what was made of it
        reason = f"the runtime does not open what was just converted: {error}"
        return replace(nothing, status="FAILED", reason=reason)


def make_part(
    run: Run,
    trial: Trial,
    name: str,
    found: frozenset[Trait],
    route: PlannedRoute,
    layers: tuple[Rule, ...] | None = None,
) -> WrittenPart:
    """Convert one part by one route and look into its file; with ``layers`` by rules of its own, which may take all."""
    target, ranges = trial.order.target, trial.checkpoint.ranges_for(route.name)
    ranges = () if target.scheme.is_float or layers is not None else ranges
    request = convert.Request(
        toolchain=target.toolchain,
        route=route.name,
        environment=route.environment,
        source=None if route.environment == "runtime" else trial.checkpoint.parts[name],
        scheme=target.scheme,
        integer_io=target.integer_io,
        signature=trial.checkpoint.signatures[name],
        calibration=trial.calibration.parts[name] if trial.calibration else None,
        float_file=trial.twin.parts[name].ref if trial.twin else None,
        traits=found,
        minimum_deployment_target=target.minimum_deployment_target,
        layers=trial.order.layers if layers is None else layers,
        ranges=ranges,
        estimator=trial.order.ranges if target.needs_calibration else TOOL,
        whole=len(trial.checkpoint.parts) == 1 and layers is None,
        on_grid=trial.order.recipe is not None and trial.order.recipe.rounds,
    )
    entry = run.step(convert.run, route.environment, f"{trial.label}:{route.name}", request)
    file = Ref(entry, entry.value.file)
    inside = run.step(audit.run, "runtime", "audit", audit.Request(target.toolchain, file, entry.value.entry))
    lost: tuple[str, ...] = ()
    if ranges:
        lost = run.step(places.lost, "runtime", "audit", places.LostRequest(target.toolchain, file, ranges)).value
    made = entry.value
    return WrittenPart(file, inside.value, made.notes, made.entry, made.kept, made.ranges, len(ranges), lost)


def prove(run: Run, trial: Trial, made: Candidate, samples: SplitFiles, *, label: str) -> Candidate:
    """Execute a candidate in its own runtime on one split, score it against the framework's run, judge it.

    A stream is run as a closed loop: the files' own states go back into them, from step to step.
    """
    what = f"{'prove' if label == 'convert' else label}:{made.route} on {samples.split}"
    made = replace(
        made, execution=run.step(trial.order.device.execute, "runtime", what, executing(trial, made, samples))
    )
    scores = run.step(score.run, "runtime", f"score:{samples.split}", scoring(trial, made, samples))
    judged = as_judged(trial, samples, scores.value)
    found = judging.judge_scores(made, judged, trial.order.target.gate)
    if found.status != "FAIL_PARITY":
        return found
    floor = noise_floor(run, trial, samples)
    found = judging.judge_scores(made, replace(judged, floor=floor), trial.order.target.gate)
    if found.status != "FAIL_PARITY":
        return found
    return judging.with_places(found, places_of(run, trial, samples))


def executing(trial: Trial, made: Candidate, samples: SplitFiles) -> execute.Request:
    """Ask for a run of a candidate's files: what any device can answer."""
    return execute.Request(
        toolchain=trial.order.target.toolchain,
        files=made.files,
        options=Options(trial.order.target.scheme),
        signatures=trial.checkpoint.signatures,
        samples=samples.file,
        task=trial.order.plan.task,
        edges=samples.edges,
        entries=made.entries,
        reference=samples.outputs if trial.checkpoint.streams else None,
    )


def scoring(trial: Trial, made: Candidate, samples: SplitFiles) -> score.Request:
    """Ask what a candidate's run is worth.

    It is held against the checkpoint, and its metric against the source's; without labels, and in outputs that the
    metric scores nothing of, against the source alone: else nothing would say what a recipe cost.
    """
    data = trial.order.plan
    assert made.execution is not None
    before = samples.source_outputs
    return score.Request(
        signatures=trial.checkpoint.signatures,
        samples=samples.file,
        reference=before if before is not None and not samples.labelled else samples.outputs,
        measured=Ref(made.execution, ""),
        source=before,
        metric=data.metric if samples.labelled else None,
        task=data.task,
        agree_on=None if samples.labelled or not data.evaluate else trial.checkpoint.agree_on,
        edges=samples.edges is not None,
    )


def as_judged(trial: Trial, samples: SplitFiles, scores: score.Answer) -> Judged:
    """Scores with all that judging them takes."""
    assert samples.reference is not None
    by = samples.reference.value.by
    if trial.checkpoint.changed and samples.labelled:  # as ``scoring`` asked
        by = f"the {trial.checkpoint.as_made} model in {by}"
        if unread := _unread(trial, scores):
            by = f"{by} ({', '.join(unread)}, which no label is for: against the model as it was handed in)"
    reads_classes = scores.accuracy is not None and metrics.metric(scores.accuracy.metric).reads_classes
    return Judged(
        scores=scores,
        split=samples.split,
        share=trial.order.plan.share(samples.split),
        reference=by,
        inputs="generated" if trial.order.plan.generated else "data",
        classes={name: trial.checkpoint.classes(name, scored=reads_classes) for name in trial.checkpoint.parts},
    )


def _unread(trial: Trial, scores: score.Answer) -> list[str]:
    """Outputs that the metric scores nothing of, of which nothing says what training may change."""
    if scores.accuracy is None or not scores.accuracy.outputs:
        return []
    names = [output.name for part in trial.checkpoint.signatures.values() for output in part.outputs]
    return [name for name in names if name not in scores.accuracy.outputs]


def noise_floor(run: Run, trial: Trial, samples: SplitFiles) -> Mapping[str, Parity] | None:
    """How far the framework's own outputs move when its inputs move by one rounding; None where none of them can."""
    checkpoint = trial.checkpoint
    label = f"reference:{samples.split} with inputs moved by one rounding"
    request = loading.in_framework(trial.order, checkpoint, samples.file)
    moved = run.step(reference.moved, checkpoint.environment, label, request)
    if not moved.value:
        return None
    compared = score.Request(checkpoint.signatures, samples.file, samples.outputs, Ref(moved, ""))
    return run.step(score.run, "runtime", f"score:{samples.split}", compared).value.parity


def places_of(run: Run, trial: Trial, samples: SplitFiles) -> Sequence[str]:
    """Where in the model is what a float file loses: asked where one fails, since integers lose what they lose."""
    if not trial.order.target.scheme.is_float:
        return ()
    request = replace(loading.in_framework(trial.order, trial.checkpoint, samples.file), edges=samples.edges)
    label = f"reference:{samples.split} watched"
    try:
        return run.step(reference.watched, trial.checkpoint.environment, label, request).value
    except FailedError:  # it is no more than a hint
        return ()


def time_against_twin(run: Run, trial: Trial, made: Candidate) -> Candidate:
    """Time an acceptable candidate against its float twin: all parts, once each."""
    twin, time = trial.twin, trial.order.device.time
    assert made.evidence is not None
    if not trial.order.latency or time is None or twin is None or twin.evidence is None or made.evidence.stand_in:
        return made
    if made.status not in judging.ACCEPTABLE:
        return made
    request = latency.Request(
        toolchain=trial.order.target.toolchain,
        files=made.files,
        options=Options(trial.order.target.scheme),
        float_files=twin.files,
        float_options=Options(FP32),
        samples=trial.selection.parts,
        signatures=trial.checkpoint.signatures,
        entries=made.entries,
        float_entries=twin.entries,
    )
    entry = run.step(time, "runtime", "latency", request)
    return replace(made, latency=judged_latency(entry.value, reused=entry.reused))


def judged_latency(measured: Latency, *, reused: bool) -> Latency:
    """A measurement with what its ratio says."""
    verdict = judge.judge_latency(measured.float_cpu_ms, measured.ratio_ci95)
    return measured.model_copy(update={"verdict": verdict, "reused": reused})
