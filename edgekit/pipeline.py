"""The main path: from a source to a proven artifact.

    load -> the recipe, if there is one -> else below 8 bits: round by samples -> float twin
         -> for each route: [convert -> audit -> run on selection -> score -> judge]
         -> where none passes: the same with channels equalized, if the target names a way
         -> where none passes, with --allow-mixed: sensitivity, the fewest layers higher
         -> choose -> test once -> what pruning gained -> package

Every arrow returns a frozen value. Work that needs a framework or a runtime is a step in a child process
(``steps/``) whose answer is kept in the store (``jobs/run.py``); judging is done here, so that moving a limit executes
nothing anew. What each arrow asks of the steps is in ``conversion/``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edgekit.artifact import compact, package
from edgekit.artifact.recipe.gain import gained
from edgekit.checkpoint import Checkpoint
from edgekit.conversion import adjusting, loading, mixed, sensitivity, trying
from edgekit.conversion import candidate as judging
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.order import Order
from edgekit.conversion.outcome import Outcome
from edgekit.conversion.plan import Plan, nothing_to_try
from edgekit.conversion.recipe import carrying, training
from edgekit.conversion.samples import SplitFiles
from edgekit.conversion.sensitivity import Sensitivity
from edgekit.conversion.trying import Trial
from edgekit.errors import FailedError, UnsupportedError, UsageError
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Result

Progress = Callable[[str, str], None]


def convert(
    order: Order, *, workers: Workers, store: Store | None = None, progress: Progress = lambda event, label: None
) -> Result:
    """Convert a source to a target and prove what came out.

    Args:
        order: source, target, data and options.
        workers: where children are started; many conversions may share one.
        store: where results of steps are kept; the user's own by default.
        progress: called with (event, text) as the run goes on, see ``Run``.

    Returns:
        The result, whose ``status`` says how it ended. The artifact is written under its name for PASS; a candidate
        that did not pass is kept aside with its report (see ``package``).

    Raises:
        EdgekitError: the request is wrong, unsafe or cannot be served at all; nothing was written.
    """
    package.check_destination(order)
    order.check()
    with (store or Store()).lease() as lease:
        run = Run(workers, lease, progress, about=order.source.given)
        return package.package(run, order, explore(run, order))


def explore(run: Run, order: Order) -> Outcome:
    """The main path up to packaging: load, try the routes, choose, test once."""
    trial = prepare(run, order)
    trials, planned = [trial], trying.plan(run, trial)
    candidates = try_routes(run, trial, planned)
    if (other := equalized(run, trial, candidates)) is not None:
        trials.append(other)
        candidates += try_routes(run, other, trying.plan(run, other))
    if mixed.wanted(trial, candidates):
        # What stays higher keeps the source's own weights.
        trials.append(prepare(run, replace(order, rounding="nearest")) if trial.checkpoint.changed else trial)
        candidates += mixed.search(run, trials[-1], planned, candidates)
    best = judging.choose(candidates, order.target.gate)
    trial = next((one for one in trials if best and one.checkpoint.recipe == best.recipe), trial)
    chosen = finish(run, trial, best)
    chosen = judging.within(order.budget, chosen, package.size(chosen))
    test, tested = test_once(run, trial, chosen)
    twin = compact.named_shortly(run, order.target, trial.twin) if trial.twin else None  # as sizes are compared
    samples = [split for split in (trial.calibration, trial.selection, test) if split]
    return Outcome(trial.checkpoint, samples, twin, planned, candidates, chosen, tested, gained(run, trial, chosen))


def equalized(run: Run, trial: Trial, tried: list[Candidate]) -> Trial | None:
    """The same with channels scaled as the target says, where that may help; None where it changes nothing."""
    if not adjusting.may_help(trial, tried):
        return None
    try:
        other = prepare(run, replace(trial.order, equalize=trial.order.target.equalize))
    except (FailedError, UnsupportedError):  # nobody asked for it: the routes that were tried say how it ended
        return None
    return other if other.checkpoint.recipe != trial.checkpoint.recipe else None


def measure_sensitivity(
    order: Order, *, workers: Workers, store: Store | None = None, progress: Progress = lambda event, label: None
) -> Sensitivity:
    """What quantizing each layer alone costs, on selection samples; see ``convert`` for the arguments."""
    order.check()
    with (store or Store()).lease() as lease:
        run = Run(workers, lease, progress, about=order.source.given)
        trial = prepare(run, replace(order, rounding="nearest"))  # layers alone, and not those before them
        return sensitivity.measure(run, trial, trying.plan(run, trial))


def prepare(run: Run, order: Order) -> Trial:
    """What all routes start from: the checkpoint, samples, and the proven float twin."""
    checkpoint = loading.load(run, order)
    package.check_destination(order, checkpoint.framework)
    calibration = loading.gather_calibration(run, order, checkpoint)
    if order.recipe is not None:
        checkpoint = training.trained(run, order, checkpoint)
    if order.adjusts:
        checkpoint = adjusting.adjusted(run, order, checkpoint, calibration)
    trial = started(run, order, checkpoint, calibration)
    if not order.trains_activations:
        return trial
    checkpoint = carrying.trained(run, trial, trying.plan(run, trial), checkpoint)  # with the ranges of a file of it
    return carrying.renamed(run, trial, started(run, order, checkpoint, calibration))


def started(run: Run, order: Order, checkpoint: Checkpoint, calibration: SplitFiles | None) -> Trial:
    """A checkpoint with its selection samples, and its proven float twin."""
    selection = loading.gather(run, order, checkpoint, "selection")
    if checkpoint.changed:
        checkpoint = adjusting.compared(run, checkpoint, selection)
    loading.baseline(run, order, checkpoint, selection)
    trial = Trial(order, checkpoint, calibration, selection)
    return replace(trial, twin=float_twin(run, trial))


def float_twin(run: Run, trial: Trial) -> Candidate | None:
    """Convert to the format's fp32 first: routes that quantize a file start from it, and latency is held against it."""
    order = trial.order
    if order.target.float_twin is None:
        return None
    fp32 = trial.for_float_twin
    tried = try_routes(run, fp32, trying.plan(run, fp32))
    twin = judging.choose(tried, fp32.order.target.gate)
    accepted = (*judging.ACCEPTABLE, *(("NOT_RUN",) if order.allow_unproven else ()))
    if twin is not None and twin.status in accepted:
        return twin
    raise trying.unproven(fp32, tried)


def try_routes(run: Run, trial: Trial, planned: Plan) -> list[Candidate]:
    """Try the planned routes in order until one passes on selection and is not slower than its float twin."""
    tried: dict[str, Candidate] = {}
    unmet: list[UsageError] = []
    for route in planned.routes:
        if route.passed_over or route.name in tried:
            continue
        try:
            candidate = trying.try_route(run, trial, planned, route)
        except UsageError as error:
            if not trial.order.keep_float:
                raise
            unmet.append(error)  # each route has names of its own for the layers that it quantizes
            recipe = trial.checkpoint.recipe
            candidate = Candidate(route.name, "UNSUPPORTED", str(error), hint=error.hint, recipe=recipe)
        tried[route.name] = candidate
        if candidate.status == "PASS" and not judging.is_slow(candidate.latency) and not trial.order.search_routes:
            break
    if unmet and all(candidate.status == "UNSUPPORTED" for candidate in tried.values()):
        raise unmet[0]
    return list(tried.values()) or [nothing_to_try(trial.order, trial.checkpoint, planned)]


def finish(run: Run, trial: Trial, chosen: Candidate | None) -> Candidate | None:
    """Record golden data of the chosen files and give them short names: what is handed out is what was executed.

    Until here layers and values are called as in the source. Files under short names run the golden data again; where
    that is not the same to the last bit, they are proven anew.
    """
    if chosen is None or chosen.evidence is None:
        return chosen
    checkpoint, selection, target = trial.checkpoint, trial.selection, trial.order.target
    chosen = compact.recorded(run, checkpoint, chosen, selection)
    if chosen.status not in judging.ACCEPTABLE:
        return chosen
    short = compact.named_shortly(run, target, chosen)
    if short is chosen or compact.computes_the_same(run, target, checkpoint, short):
        return short
    proven = trying.prove(run, trial, short, selection, label="compact")
    return compact.recorded(run, checkpoint, proven, selection)


def test_once(run: Run, trial: Trial, chosen: Candidate | None) -> tuple[SplitFiles | None, Candidate | None]:
    """Make the test split now that the choice is made, and run the chosen candidate on it once."""
    if chosen is None or chosen.status not in judging.ACCEPTABLE or trial.order.plan.metric is None:
        return None, None
    test = loading.gather(run, trial.order, trial.checkpoint, "test")
    if test.count == 0:
        return test, None
    return test, trying.prove(run, trial, chosen, test, label="test")
