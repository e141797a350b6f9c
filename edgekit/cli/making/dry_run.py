"""`--dry-run`: the main path with what the store holds, up to the first step that would have to convert or run.

The model is loaded and the samples are read, as `convert` does first: what it refuses of them is refused here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit import api, frameworks, toolchains
from edgekit import target as targets
from edgekit.artifact import checkpoints, publishing
from edgekit.bench.converting import Nobody, NotMadeError
from edgekit.checkpoint import Checkpoint
from edgekit.cli import columns
from edgekit.cli.printing import EXIT, print_json, print_line
from edgekit.conversion import loading, plan
from edgekit.conversion.order import Order
from edgekit.errors import EdgekitError, MissingDependencyError, UnsupportedError, printable
from edgekit.jobs import extras, interpreters, wire
from edgekit.jobs.interruption import listening
from edgekit.jobs.run import Run
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Answer, Workers
from edgekit.result import Result
from edgekit.several import Options, check_names
from edgekit.sources import source as sources
from edgekit.steps import convert as convert_step
from edgekit.steps import describe, samples
from edgekit.target import Target, TargetRoute

#: Steps that are taken: they look at what was handed in, or name a toolchain's routes.
_LOOKS = (
    describe.beside, describe.examine, describe.identify, describe.run, samples.run, samples.shapes,
    convert_step.routes,
)  # fmt: skip


class Looking(Nobody):
    """Looks at the model and at the samples, and takes no other step."""

    def __init__(self, workers: Workers) -> None:
        super().__init__()
        self._workers = workers

    def call(self, environment: str, step: str, arguments: Mapping[str, Any], **options: Any) -> Answer[wire.Json]:  # type: ignore[override]
        """Take a step that looks; refuse all others."""
        if step not in {wire.name_of(one) for one in _LOOKS}:
            raise NotMadeError
        return self._workers.call(environment, step, arguments, **options)


@dataclass
class Walk:
    """How far looking and the store lead.

    Attributes:
        looked: steps that were taken, in order.
        reused: steps that the store has, in order.
        first: the first step that is not taken; None where the store has them all, or the request is refused.
        before: what that took the last time, in words.
        refused: why it cannot be served, as the steps that are there tell.
        result: how it ends, where every step is there.
    """

    looked: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    first: str | None = None
    before: str = ""
    refused: EdgekitError | None = None
    result: Result | None = None

    def tell(self, event: str, label: str) -> None:
        """Hear of a run."""
        match event:
            case "reused":
                self.reused.append(label)
            case "before":
                self.before = label
            case "start":
                self.first = label
            case "done":
                self.looked.append(label)
                self.first, self.before = None, ""

    def go(self, ask: Callable[[], Any]) -> Walk:
        """Ask for something of which only what looks is done."""
        try:
            found = ask()
            self.result = found if isinstance(found, Result) else None
        except NotMadeError:
            pass
        except (UnsupportedError, MissingDependencyError) as error:
            self.refused = error
        return self


def convert(source: str, names: Sequence[str], given: Options, *, as_json: bool) -> int:
    """Say what `edgekit convert` would do; exits 0, or as it would where it cannot be done here (3, 7).

    Raises:
        EdgekitError: what `edgekit convert` would refuse of the request, the model and the samples.
    """
    documents = []
    check_names([targets.load(name).name for name in names])
    with _looking(given) as workers:
        for name in names:
            target, output = targets.load(name), given.get("output")
            if output is not None:
                publishing.check(Path(output) / target.name if len(names) > 1 else Path(output), ())
            with tempfile.TemporaryDirectory() as scratch:
                walk = Walk()
                out = Path(scratch) / "out"
                options: Options = {**given, "output": out, "progress": walk.tell, "workers": workers}

                def ask(name: str = name, options: Options = options) -> Result:
                    return api.convert(source, name, **options)

                walk.go(ask)
            documents.append(_document(source, given, target, walk, workers))
    return _print(documents, as_json=as_json)


def compress(source: str, name: str, given: Mapping[str, Any], *, as_json: bool) -> int:
    """Say what `edgekit compress` would do; see ``convert``."""
    checkpoints.check(given["output"])
    with _looking(given) as workers, tempfile.TemporaryDirectory() as scratch:
        options = {**given, "output": Path(scratch) / "out"}
        walk = Walk()
        walk.go(lambda: api.compress(source, name, **options, progress=walk.tell, workers=workers))
        document = _document(source, given, targets.load(name), walk, workers)
    return _print([document], as_json=as_json)


@contextmanager
def _looking(given: Mapping[str, Any]) -> Iterator[Workers]:
    limits = api.limits_of(given.get("timeout", 1800.0), given.get("memory_limit_mib"))
    with listening(), Workers(limits) as workers, Looking(workers) as looking:
        yield looking


def _document(given: str, options: Mapping[str, Any], target: Target, walk: Walk, workers: Workers) -> dict[str, Any]:
    source = sources.resolve(given, inputs=tuple(options.get("inputs", ())), trust=options.get("trust", False))
    framework = source.framework or (target.default_framework if source.kind == "zoo" else None)
    routes: list[dict[str, Any]] = []
    missing = _missing(framework, target)
    if "load" in (*walk.looked, *walk.reused):
        data = (options.get("calibrate"), options.get("evaluate"), "top1", options.get("train"))
        order = Order(source, target, api.plan_for(source, *data))
        try:
            checkpoint, routes = _served(order, workers)
            framework = checkpoint.framework
            missing = _missing(framework, target)
            for name in sorted({route.pop("environment") for route in routes}):
                if (absent := _absent(name)) is not None:
                    missing.append(_lacks(name, [frameworks.KINDS[name].needs], f"edgekit doctor --install {name}"))
                    walk.refused = walk.refused or absent
        except (UnsupportedError, MissingDependencyError) as error:
            walk.refused = walk.refused or error
    if missing and walk.refused is None and walk.result is None:
        lacking = ", ".join(name for one in missing for name in one["distributions"])
        walk.refused = MissingDependencyError(f"{lacking} not installed here", hint=f"Run: {missing[0]['install']}")
    return {
        "source": source.given,
        "framework": framework,
        "target": target.name,
        **_ending(walk),
        "routes": routes,
        "looked_at": walk.looked,
        "reused": walk.reused,
        "first": walk.first,
        "first_took_before": walk.before if walk.first and walk.before else None,
        "ends": walk.result.status if walk.result else None,
        "missing": missing,
    }


def _ending(walk: Walk) -> dict[str, Any]:
    """Status and reason, and the error that `convert` would end with."""
    if (error := walk.refused) is not None:
        status = "UNSUPPORTED" if isinstance(error, UnsupportedError) else "FAILED"
        said = {"code": error.code, "message": str(error), "hint": error.hint}
        return {"status": status, "reason": str(error), "error": said, "exit_code": error.exit_code}
    if walk.result is not None and walk.result.status == "UNSUPPORTED":
        return {"status": "UNSUPPORTED", "reason": walk.result.reason, "exit_code": EXIT["UNSUPPORTED"]}
    return {"status": "PASS", "reason": "nothing was converted", "exit_code": 0}


def _served(order: Order, workers: Workers) -> tuple[Checkpoint, list[dict[str, Any]]]:
    """The routes that serve the source, those of the float twin first, each with the kind of child that runs it.

    Raises:
        UnsupportedError: there are none.
        MissingDependencyError: the toolchain is not installed.
    """
    rows: list[dict[str, Any]] = []
    target = order.target
    with Store().lease() as lease:
        run = Run(workers, lease, lambda event, label: None)
        checkpoint = loading.load(run, order)
        request = convert_step.RoutesRequest(target.toolchain)
        facts = run.step(convert_step.routes, "runtime", "routes", request).value
    for one in (*([targets.load(target.float_twin)] if target.float_twin else []), target):
        serving = plan.serving(checkpoint, one, facts)
        if not serving:
            nothing = plan.nothing_to_try(replace(order, target=one), checkpoint, plan.Plan((), None))
            raise UnsupportedError(nothing.reason, hint=nothing.hint)
        rows += [_route(one, route, environment) for route, environment in serving]
    return checkpoint, rows


def _route(target: Target, route: TargetRoute, environment: str) -> dict[str, Any]:
    """A route and what it depends on."""
    return {
        "target": target.name,
        "route": route.name,
        "because": route.because,
        "unless": list(route.unless),
        "only": list(route.only),
        "needs": route.needs,
        "environment": environment,
    }


def _absent(environment: str) -> MissingDependencyError | None:
    """That a kind of child has an environment of its own, which is not there; None of all others."""
    try:
        interpreters.for_job(environment, None)
    except MissingDependencyError as error:
        return error
    return None


def _lacks(extra: str, distributions: list[str], install: str) -> dict[str, Any]:
    return {"extra": extra, "distributions": distributions, "install": install}


def _missing(framework: str | None, target: Target) -> list[dict[str, Any]]:
    """What is not installed of the framework, and of what converts and runs files of the target."""
    own = interpreters.of(target.toolchain) or interpreters.HERE
    packages = toolchains.facts(target.toolchain).PACKAGES
    models = extras.of_models(target.toolchain, framework or "")
    try:
        installs = [name for one in (target.toolchain, models) if one for name in extras.installable().get(one, [])]
    except metadata.PackageNotFoundError:  # edgekit runs from its sources, and says nothing of what it needs
        installs = []
    # TensorRT's extra has what builds engines, which converting needs not.
    tools = [name for name in installs if name in packages] or (list(packages) if installs else [])
    needs = {kind.needs for kind in frameworks.KINDS.values() if kind.module == framework}
    rows = [
        (framework, [] if any(map(interpreters.HERE.has, needs)) else sorted(needs)),
        (models or target.toolchain, [name for name in tools if own.has(name) is None]),
    ]
    return [_lacks(extra, names, f"pip install 'edgekit[{extra}]'") for extra, names in rows if extra and names]


def _print(documents: Sequence[dict[str, Any]], *, as_json: bool) -> int:
    exits = [one.pop("exit_code") for one in documents]
    worst = documents[exits.index(max(exits))]
    if as_json:
        about = {"schema": 1, "dry_run": True}
        several = {"status": worst["status"], "reason": worst["reason"], "results": list(documents)}
        print_json(about | (worst if len(documents) == 1 else several))
        return max(exits)
    for index, document in enumerate(documents):
        if index:
            print_line()
        columns.write(columns.pairs([(name, printable(value)) for name, value in _said(document)]))
    return max(exits)


def _said(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A document as rows of two columns."""
    whose = f" ({document['framework']})" if document["framework"] else ""
    rows = [("source", f"{document['source']}{whose}"), ("target", document["target"])]
    rows += [("route", f"{route['target']}: {route['route']}{_when(route)}") for route in document["routes"]]
    if document["looked_at"]:
        rows.append(("looked at", ", ".join(dict.fromkeys(document["looked_at"]))))
    rows.append(("reused", ", ".join(dict.fromkeys(document["reused"])) or "nothing"))
    if document["first"] and document["status"] == "PASS":
        before = f" (before: {document['first_took_before']})" if document["first_took_before"] else ""
        rows.append(("runs first", f"{document['first']}{before}; what comes after it depends on what it gives"))
    elif document["ends"]:
        rows.append(("runs", f"nothing: the store has every step; it ends as {document['ends']}"))
    missing = [f"{', '.join(one['distributions'])}: {one['install']}" for one in document["missing"]]
    known = document["status"] != "FAILED"  # else what is missing may be what the status says
    rows += [("missing", text) for text in missing or ["nothing"] * known]
    if document["status"] != "PASS":
        rows.append(("status", f"{document['status']} {document['reason']}"))
    if hint := document.get("error", {}).get("hint"):
        rows.append(("next step", hint))
    return rows


def _when(route: Mapping[str, Any]) -> str:
    parts = [
        *([f"unless {', '.join(route['unless'])}"] if route["unless"] else []),
        *([f"only {' or '.join(route['only'])}"] if route["only"] else []),
        *([f"with --{route['needs']}"] if route["needs"] else []),
    ]
    return f" ({'; '.join(parts)})" if parts else ""
