"""The main path: from a source to a proven artifact.

    load -> float twin -> for each route: [convert -> audit -> prove on selection -> judge] -> choose -> test once
         -> package

Every arrow returns a frozen value. Work that needs a framework or a runtime is a step in a child process
(``steps/``) whose result is kept in the store (``jobs/run.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgekit import candidate as judging
from edgekit import target as targets
from edgekit import zoo
from edgekit.artifact import compact, package
from edgekit.candidate import Candidate, Part, Scores, is_slow
from edgekit.conversion import (
    Described,
    Loaded,
    LoadedPart,
    Order,
    Outcome,
    Plan,
    PlannedRoute,
    Samples,
    nothing_to_try,
)
from edgekit.errors import DamagedFileError, FailedError, NotRunError, UnsupportedError, UsageError
from edgekit.jobs.confine import untrusted
from edgekit.jobs.run import Given, Ref, Run
from edgekit.jobs.store import Store, sha256_json
from edgekit.jobs.workers import Workers
from edgekit.proof import judge, metrics
from edgekit.result import Inspected, LatencyFacts, Result
from edgekit.signature import WHOLE
from edgekit.sources import source as sources
from edgekit.sources.source import Source
from edgekit.steps.describe import checkpoint
from edgekit.steps.samples import EDGES
from edgekit.target import Target, Trait

Progress = Callable[[str, str], None]


def convert(
    order: Order,
    *,
    workers: Workers,
    store: Store | None = None,
    progress: Progress = lambda event, label: None,
) -> Result:
    """Convert a source to a target and prove what came out.

    Args:
        order: source, target, data and options.
        workers: where children are started; many conversions may share one.
        store: where results of steps are kept; the user's own by default.
        progress: called with (``start`` | ``done`` | ``reused``, step) as the run goes on.

    Returns:
        The result, whose ``status`` says how it ended. The artifact is written under its name for PASS; a candidate
        that did not pass is kept aside with its report (see ``packaging``).

    Raises:
        EdgekitError: the request is wrong, unsafe or cannot be served at all; nothing was written.
    """
    package.check_destination(order)
    check_calibration(order)
    with (store or Store()).lease() as lease:
        run = Run(workers, lease, progress)
        return package.package(run, order, explore(run, order))


def explore(run: Run, order: Order) -> Outcome:
    """The main path up to packaging: load, try the routes, choose, test once."""
    loaded = load(run, order)
    package.check_destination(order, loaded.framework)
    calibration = gather(run, order, loaded, "calibration", reference=False) if order.target.needs_calibration else None
    selection = gather(run, order, loaded, "selection")
    baseline(run, order, loaded, selection)
    twin = float_twin(run, order, loaded, selection)
    planned = plan(run, order, loaded, twin)
    candidates = try_routes(run, order, loaded, calibration, selection, twin, planned)
    chosen = finish(run, order, loaded, judging.choose(candidates, order.target.gate), selection)
    test, tested = test_once(run, order, loaded, chosen)
    twin = compact.named_shortly(run, order.target, twin) if twin else None  # sizes are compared under short names
    samples = [s for s in (calibration, selection, test) if s]
    return Outcome(loaded, samples, twin, planned, candidates, chosen, tested)


def load(run: Run, order: Order) -> Loaded:
    """Load the source in its framework, part by part; fix its batch to 1 and read its inputs and outputs."""
    source = identify(run, order)
    environment = sources.environments(source)[0]
    parts: dict[str, LoadedPart] = {}
    framework: str = ""
    notes: tuple[str, ...] = ()
    for part in sources.parts(source):
        arguments = {"source": _given(part), "environment": environment, "materialise": not has_weights(source)}
        with untrusted.damage(part):
            entry = run.step("describe", environment, "load", arguments)
            described = Described.read(entry.value)
        part = checkpoint(part, entry)
        parts[part.part] = LoadedPart(part, entry.value["signature"])
        framework, notes = described.framework, described.notes
    loaded = Loaded(parts, environment, framework, notes + untrusted.unheld(source), order.roles)
    known = [output["name"] for signature in loaded.signatures.values() for output in signature["outputs"]]
    if unknown := [name for name in order.roles if name not in known]:
        raise UsageError(f"--outputs names {unknown[0]!r}; the model's outputs are {', '.join(known)}")
    return loaded


def has_weights(source: Source) -> bool:
    """Whether every child that loads the source gets the same weights; else they are saved once and shared."""
    if source.kind == "zoo":
        assert source.config is not None
        return zoo.weights_path(source.name, source.config) is not None
    return source.kind != "python"


def identify(run: Run, order: Order) -> Source:
    """Look at a file; decide the framework where it is open: the zoo's by the target, a function's by calling it."""
    source = order.source
    if source.kind in sources.FILES:
        return untrusted.examine(run, source)
    if source.framework is not None:
        return source
    if source.kind == "zoo":
        return sources.with_framework(source, order.target.default_framework)
    arguments = {"source": _given(source)}
    return sources.with_framework(source, run.step("describe:identify", "keras-tensorflow", "load", arguments).value)


def check_calibration(order: Order) -> None:
    """Refuse a target whose ranges come from samples where there are none, before any work."""
    if order.target.needs_calibration and order.plan.task is None and order.plan.calibrate is None:
        raise UsageError(
            f"{order.target.name} needs calibration samples and none were given",
            hint="Pass --calibrate DATA (a few hundred real inputs), or take "
            f"{' or '.join(targets.without_calibration(order.target)) or 'a dynamic target'}.",
        )


def gather(run: Run, order: Order, loaded: Loaded, split: str, *, reference: bool = True) -> Samples:
    """Make one split and run the model on it in its own framework."""
    plan = Given(asdict(order.plan.absolute()), order.plan.content) if order.plan.content else asdict(order.plan)
    wanted = {"plan": plan, "split": split, "signatures": loaded.signatures}
    reading = untrusted.data(order.plan, run.store.root.parent)
    with untrusted.unread(order.plan):
        entry = run.step("samples", "data", f"samples:{split}", wanted, reading=reading)
    file = Ref(entry, "samples.npz")
    if entry.value["count"] == 0 or not (reference or loaded.streams):
        return Samples(split, entry, None, dict.fromkeys(loaded.parts, file))
    arguments = {**_in_framework(order, loaded, file), "rows": order.plan.calibration_count}
    arguments["edges_file"] = Ref(entry, EDGES) if split == "selection" else None
    outputs = run.step("reference", loaded.environment, f"reference:{split}", arguments)
    if not loaded.streams:
        return Samples(split, entry, outputs, {WHOLE: file})
    return Samples(split, entry, outputs, {name: Ref(outputs, f"{name}.samples.npz") for name in loaded.parts})


def baseline(run: Run, order: Order, loaded: Loaded, selection: Samples) -> None:
    """Score the framework's own run on the user's labels first: a metric that cannot is said before any work."""
    if order.plan.task is None and order.plan.metric is not None and selection.labelled:
        arguments = {
            "signatures": loaded.signatures,
            "samples_file": selection.file,
            "reference_folder": selection.outputs,
            "metric": order.plan.metric,
            "task": None,
        }
        run.step("prove:baseline", "data", "reference:scored", arguments)


def _in_framework(order: Order, loaded: Loaded, samples: Ref) -> dict[str, Any]:
    return {
        "sources": {name: _given(part.source) for name, part in loaded.parts.items()},
        "environment": loaded.environment,
        "samples_file": samples,
        "task": order.plan.task,
    }


def float_twin(run: Run, order: Order, loaded: Loaded, selection: Samples) -> Candidate | None:
    """Convert to the format's fp32 first: a wrong float file is caught before it is quantized.

    It is also what routes that quantize a file start from, and what latency is compared with.
    """
    if order.target.float_twin is None:
        return None
    fp32 = replace(order, target=targets.float_twin(order.target), search_routes=False)
    planned = plan(run, fp32, loaded, None)
    tried = try_routes(run, fp32, loaded, None, selection, None, planned, label="float twin")
    twin = judging.choose(tried, fp32.target.gate)
    accepted = (*judging.ACCEPTABLE, *(("NOT_RUN",) if order.allow_unproven else ()))
    if twin is None or twin.status not in accepted:
        reasons = "; ".join(f"{c.route}: {c.status} {c.reason}" for c in tried)
        statuses = {c.status for c in tried}
        kinds = {"UNSUPPORTED": UnsupportedError, "NOT_RUN": NotRunError}
        kind = kinds.get(statuses.pop(), FailedError) if len(statuses) == 1 else FailedError
        raise kind(
            f"no fp32 {order.target.format} file of this model could be proven: {reasons}",
            hint=f"Try `--target {fp32.target.name}` to see the report, or another format.",
        )
    return twin


def plan(run: Run, order: Order, loaded: Loaded, twin: Candidate | None) -> Plan:
    """Which of the target's routes serve this source, and which are passed over for what its graph is made of."""
    facts = run.step("convert:routes", "runtime", "routes", {"toolchain_name": order.target.toolchain}).value
    serving = loaded.serving(order.target, facts)
    asked = twin is not None or any(route.asks for route, _ in serving)
    traits = {name: find_traits(run, order, loaded, twin, name) for name in loaded.parts} if asked else None
    return Plan.of(order, serving, traits)


def find_traits(run: Run, order: Order, loaded: Loaded, twin: Candidate | None, name: str) -> frozenset[Trait]:
    """What the graph of a part is made of: of its proven float file, or of the model where that is still to be made."""
    part = loaded.parts[name]
    if twin is not None:
        file = Ref(twin.parts[name].entry, twin.parts[name].file)
        arguments = {"toolchain_name": order.target.toolchain, "file": file, "signature": part.signature}
        return frozenset(run.step("audit:traits", "runtime", "traits", arguments).value)
    arguments = {"source": _given(part.source), "environment": loaded.environment}
    return frozenset(run.step("traits", loaded.environment, "traits", arguments).value)


def try_routes(
    run: Run,
    order: Order,
    loaded: Loaded,
    calibration: Samples | None,
    selection: Samples,
    twin: Candidate | None,
    planned: Plan,
    *,
    label: str = "",
) -> list[Candidate]:
    """Try the planned routes in order until one passes on selection and is not slower than its float twin."""
    tried: dict[str, Candidate] = {}
    for route in planned.routes:
        if route.passed_over or route.name in tried:
            continue
        candidate = try_route(run, order, loaded, calibration, selection, twin, planned, route, label)
        tried[route.name] = candidate
        if candidate.status == "PASS" and not is_slow(candidate.latency) and not order.search_routes:
            break
    return list(tried.values()) or [nothing_to_try(order, loaded, planned)]


def try_route(
    run: Run,
    order: Order,
    loaded: Loaded,
    calibration: Samples | None,
    selection: Samples,
    twin: Candidate | None,
    planned: Plan,
    route: PlannedRoute,
    label: str,
) -> Candidate:
    """Convert by one route, look into the file, execute it on selection samples, judge it."""
    target = order.target
    what = label or "convert"
    made = Candidate(route.name, "NOT_RUN")
    try:
        parts = {}
        for name, part in loaded.parts.items():
            ranges = calibration.parts[name] if calibration else None
            floats = twin.parts[name] if twin else None
            parts[name] = make_part(run, target, part, ranges, floats, planned.of_part(name), route, what)
        made = Candidate(route.name, "PASS", parts=parts)
        made = judging.judge_audit(target, made, allow_mixed=order.allow_mixed)
        if made.status == "FAIL_PRECISION":
            return made
        made = prove(run, order, loaded, made, selection, label=what)
        assert made.evidence is not None
        timed = order.latency and twin is not None and twin.evidence is not None and not made.evidence.stand_in
        if timed and made.status in judging.ACCEPTABLE:
            assert twin is not None
            made = replace(made, latency=time_against(run, target, loaded, made, twin, selection))
    except UnsupportedError as error:
        return Candidate(route.name, "UNSUPPORTED", str(error), hint=error.hint)
    except FailedError as error:
        return Candidate(route.name, "FAILED", str(error), hint=error.hint)
    except NotRunError as error:  # the files are there, for --allow-unproven
        return replace(made, status="NOT_RUN", reason=str(error), hint=error.hint)
    except DamagedFileError as error:
        if not made.parts:
            raise  # the source is damaged, not what was made of it
        return Candidate(route.name, "FAILED", f"the runtime does not open what was just converted: {error}")
    return made


def make_part(
    run: Run,
    target: Target,
    part: LoadedPart,
    calibration: Ref | None,
    twin: Part | None,
    traits: frozenset[Trait],
    route: PlannedRoute,
    label: str,
) -> Part:
    """Convert one part by one route and look into its file."""
    arguments = {
        "toolchain_name": target.toolchain,
        "route": route.name,
        "environment": route.environment,
        "source": None if route.environment == "runtime" else _given(part.source),
        "precision": target.precision,
        "integer_io": target.integer_io,
        "signature": part.signature,
        "calibration_file": calibration,
        "float_file": Ref(twin.entry, twin.file) if twin else None,
        "traits": sorted(traits),
    }
    if target.minimum_deployment_target:
        arguments["minimum_deployment_target"] = target.minimum_deployment_target
    entry = run.step("convert", route.environment, f"{label}:{route.name}", arguments)
    audit = look(run, target, Ref(entry, entry.value["file"]))
    return Part(entry, audit, tuple(entry.value["notes"]))


def look(run: Run, target: Target, file: Ref) -> Inspected:
    """Audit a file without executing it."""
    arguments = {"toolchain_name": target.toolchain, "file": file}
    return Inspected.model_validate(run.step("audit", "runtime", "audit", arguments).value)


def prove(run: Run, order: Order, loaded: Loaded, made: Candidate, samples: Samples, *, label: str) -> Candidate:
    """Execute a candidate in its own runtime on one split, compare it with the framework, judge it.

    A stream is run as a closed loop: the files' own states go back into them, from step to step.
    """
    target = order.target
    assert samples.reference is not None
    arguments = {
        "toolchain_name": target.toolchain,
        "files": _files(made),
        "precision": target.precision,
        "signatures": loaded.signatures,
        "samples_file": samples.file,
        "reference_folder": samples.outputs,
        "metric": order.plan.metric if samples.labelled else None,
        "task": order.plan.task,
        "edges_file": Ref(samples.entry, EDGES) if samples.reference.value["edges"] else None,
        "agree_on": None if samples.labelled or not order.plan.evaluate else loaded.agree_on,
    }
    kind = "prove" if label == "convert" else label
    entry = run.step("prove", "runtime", f"{kind}:{made.route} on {samples.split}", arguments)
    facts = {"reference": samples.reference.value["by"], "inputs": "generated" if order.plan.generated else "data"}
    accuracy = entry.value["accuracy"]
    scored = accuracy is not None and metrics.metric(accuracy["metric"]).reads_classes
    scores = Scores(
        samples.split,
        order.plan.share(samples.split),
        facts,
        {name: loaded.classes(name, scored=scored) for name in loaded.parts},
    )
    made = judging.judge_scores(replace(made, proof_entry=entry), scores, target.gate)
    if made.status != "FAIL_PARITY":
        return made
    return judging.judge_scores(made, replace(scores, floor=noise_floor(run, order, loaded, samples)), target.gate)


def noise_floor(run: Run, order: Order, loaded: Loaded, samples: Samples) -> dict[str, Any] | None:
    """How far the framework's own outputs move when its inputs move by one rounding; None where none of them can."""
    arguments = {**_in_framework(order, loaded, samples.file), "reference_folder": samples.outputs}
    arguments["signatures"] = loaded.signatures
    label = f"reference:{samples.split} with inputs moved by one rounding"
    found: dict[str, Any] | None = run.step("reference:moved", loaded.environment, label, arguments).value
    return found


def time_against(
    run: Run, target: Target, loaded: Loaded, made: Candidate, twin: Candidate, samples: Samples
) -> LatencyFacts:
    """Time a candidate against its float twin: all parts, once each."""
    arguments = {
        "toolchain_name": target.toolchain,
        "files": _files(made),
        "precision": target.precision,
        "float_files": _files(twin),
        "samples_files": dict(samples.parts),
        "signatures": loaded.signatures,
    }
    entry = run.step("latency", "runtime", "latency", arguments)
    verdict = judge.judge_latency(entry.value["float_cpu_ms"], entry.value["ratio_ci95"])
    return LatencyFacts.model_validate({**entry.value, "verdict": verdict, "reused": entry.reused})


def finish(run: Run, order: Order, loaded: Loaded, chosen: Candidate | None, selection: Samples) -> Candidate | None:
    """Record golden data of the chosen files and give them short names: what is handed out is what was executed.

    Until here layers and values are called as in the source. Files under short names run the golden data again; where
    that is not the same to the last bit, they are proven anew.
    """
    if chosen is None or chosen.evidence is None:
        return chosen
    chosen = compact.recorded(run, loaded, chosen, selection)
    if chosen.status not in judging.ACCEPTABLE:
        return chosen
    short = compact.named_shortly(run, order.target, chosen)
    if short is chosen or compact.computes_the_same(run, order.target, loaded, short):
        return short
    return compact.recorded(run, loaded, prove(run, order, loaded, short, selection, label="compact"), selection)


def test_once(
    run: Run, order: Order, loaded: Loaded, chosen: Candidate | None
) -> tuple[Samples | None, Candidate | None]:
    """Make the test split now that the choice is made, and run the chosen candidate on it once."""
    if chosen is None or chosen.status not in judging.ACCEPTABLE or order.plan.metric is None:
        return None, None
    test = gather(run, order, loaded, "test")
    if test.count == 0:
        return test, None
    return test, prove(run, order, loaded, chosen, test, label="test")


def _given(source: Source) -> Given:
    """The source for a step: named by its content and by what the user declared about it, not by where it lies.

    Code is named by its place as well: the files that it reads lie around it.
    """
    facts = source.to_json()
    declared = {key: facts[key] for key in ("sha256", "kind", "inputs", "trust", "part")}
    if source.kind == "python":
        declared["path"] = source.path
    if not source.confined:
        return Given(facts, sha256_json(declared))
    return Given({**facts, "path": Path(str(source.path))}, sha256_json(declared), sources.size(source))


def _files(made: Candidate) -> dict[str, Ref]:
    return {name: Ref(part.entry, part.file) for name, part in made.parts.items()}
