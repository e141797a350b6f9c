"""`--dry-run`: the main path with what the store holds, up to the first step that would have to run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit import api, frameworks, toolchains
from edgekit import target as targets
from edgekit.artifact import checkpoints, publishing
from edgekit.bench.converting import Nobody, NotMadeError
from edgekit.cli import columns
from edgekit.cli.printing import EXIT, print_json, print_line
from edgekit.errors import MissingDependencyError, UnsupportedError, printable
from edgekit.jobs import extras, interpreters
from edgekit.jobs.workers import Workers
from edgekit.result import Result
from edgekit.several import Options
from edgekit.sources import source as sources
from edgekit.sources.source import Source
from edgekit.target import Target


@dataclass
class Walk:
    """How far the store leads.

    Attributes:
        reused: steps that the store has, in order.
        first: the first step that it lacks; None where it has them all, or the request is refused.
        before: what that took the last time, in words.
        refused: why it cannot be served, as the steps that are there tell.
        result: how it ends, where every step is there.
    """

    reused: list[str] = field(default_factory=list)
    first: str | None = None
    before: str = ""
    refused: str = ""
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

    def go(self, ask: Callable[[Workers], Any]) -> Walk:
        """Ask for something of which no step is run."""
        with Nobody() as nobody:
            try:
                found = ask(nobody)
                self.result = found if isinstance(found, Result) else None
            except NotMadeError:
                pass
            except (UnsupportedError, MissingDependencyError) as error:
                self.refused = str(error)
        return self


def convert(source: str, names: Sequence[str], given: Options, *, as_json: bool) -> int:
    """Say what `edgekit convert` would do; exits 0, or 3 where it cannot be done here.

    Raises:
        EdgekitError: what `edgekit convert` would refuse before any work.
    """
    documents = []
    for name in names:
        target, output = targets.load(name), given.get("output")
        if output is not None:
            publishing.check(Path(output) / target.name if len(names) > 1 else Path(output), ())
        with tempfile.TemporaryDirectory() as scratch:
            options: Options = {**given, "output": Path(scratch) / "out"}
            walk = Walk()
            options["progress"] = walk.tell

            def ask(nobody: Workers, name: str = name, options: Options = options) -> Result:
                options["workers"] = nobody
                return api.convert(source, name, **options)

            walk.go(ask)
        documents.append(_document(_resolved(source, given), target, walk))
    return _print(documents, as_json=as_json)


def compress(source: str, name: str, given: Mapping[str, Any], *, as_json: bool) -> int:
    """Say what `edgekit compress` would do; see ``convert``."""
    checkpoints.check(given["output"])
    with tempfile.TemporaryDirectory() as scratch:
        options = {**given, "output": Path(scratch) / "out"}
        walk = Walk()
        walk.go(lambda nobody: api.compress(source, name, **options, progress=walk.tell, workers=nobody))
    return _print([_document(_resolved(source, given), targets.load(name), walk)], as_json=as_json)


def _resolved(source: str, given: Mapping[str, Any]) -> Source:
    return sources.resolve(source, inputs=tuple(given.get("inputs", ())), trust=given.get("trust", False))


def _document(source: Source, target: Target, walk: Walk) -> dict[str, Any]:
    framework = source.framework or (target.default_framework if source.kind == "zoo" else None)
    missing = _missing(framework, target)
    reason = walk.refused
    if missing and not reason:
        what = ", ".join(name for one in missing for name in one["distributions"])
        reason = f"{what} not installed here"
    ended = walk.result.status if walk.result else None
    status = "UNSUPPORTED" if reason or ended == "UNSUPPORTED" else "PASS"
    if status == "PASS":
        reason = "nothing was run"
    elif walk.result and not reason:
        reason = walk.result.reason
    twin = [targets.load(target.float_twin)] if target.float_twin else []
    return {
        "source": source.given,
        "framework": framework,
        "target": target.name,
        "status": status,
        "reason": reason,
        "routes": [route for one in (*twin, target) for route in _routes(one)],
        "reused": walk.reused,
        "first": walk.first,
        "first_took_before": walk.before if walk.first and walk.before else None,
        "ends": ended,
        "missing": missing,
    }


def _routes(target: Target) -> list[dict[str, Any]]:
    """A target's routes in the order in which they are tried, and what each depends on."""
    return [
        {
            "target": target.name,
            "route": route.name,
            "because": route.because,
            "unless": list(route.unless),
            "only": list(route.only),
            "needs": route.needs,
        }
        for route in target.routes
    ]


def _missing(framework: str | None, target: Target) -> list[dict[str, Any]]:
    """What is not installed of the framework, and of what converts and runs files of the target."""
    own = interpreters.of(target.toolchain) or interpreters.HERE
    packages = toolchains.facts(target.toolchain).PACKAGES
    try:
        installs = extras.installable().get(target.toolchain, [])
    except metadata.PackageNotFoundError:  # edgekit runs from its sources, and says nothing of what it needs
        installs = []
    # TensorRT's extra has what builds engines, which converting needs not.
    tools = [name for name in installs if name in packages] or (list(packages) if installs else [])
    needs = {kind.needs for kind in frameworks.KINDS.values() if kind.module == framework}
    rows = [
        (framework, [] if any(map(interpreters.HERE.has, needs)) else sorted(needs)),
        (target.toolchain, [name for name in tools if own.has(name) is None]),
    ]
    return [
        {"extra": extra, "distributions": names, "install": f"pip install 'edgekit[{extra}]'"}
        for extra, names in rows
        if names
    ]


def _print(documents: Sequence[dict[str, Any]], *, as_json: bool) -> int:
    worst = max(documents, key=lambda one: EXIT[one["status"]])
    if as_json:
        about = {"schema": 1, "status": worst["status"], "reason": worst["reason"], "dry_run": True}
        one = {**worst, **about}
        print_json(one if len(documents) == 1 else {**about, "results": list(documents)})
        return EXIT[worst["status"]]
    for index, document in enumerate(documents):
        if index:
            print_line()
        columns.write(columns.pairs([(name, printable(value)) for name, value in _said(document)]))
    return EXIT[worst["status"]]


def _said(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A document as rows of two columns."""
    whose = f" ({document['framework']})" if document["framework"] else ""
    rows = [("source", f"{document['source']}{whose}"), ("target", document["target"])]
    rows += [("route", f"{route['target']}: {route['route']}{_when(route)}") for route in document["routes"]]
    rows.append(("reused", ", ".join(document["reused"]) or "nothing"))
    if document["first"]:
        before = f" (before: {document['first_took_before']})" if document["first_took_before"] else ""
        rows.append(("runs first", f"{document['first']}{before}; what comes after it depends on what it gives"))
    elif document["ends"]:
        rows.append(("runs", f"nothing: the store has every step; it ends as {document['ends']}"))
    missing = [f"{', '.join(one['distributions'])}: {one['install']}" for one in document["missing"]]
    rows += [("missing", text) for text in missing or ["nothing"]]
    if document["status"] != "PASS":
        rows.append(("status", f"{document['status']} {document['reason']}"))
    return rows


def _when(route: Mapping[str, Any]) -> str:
    parts = [
        *([f"unless {', '.join(route['unless'])}"] if route["unless"] else []),
        *([f"only {' or '.join(route['only'])}"] if route["only"] else []),
        *([f"with --{route['needs']}"] if route["needs"] else []),
    ]
    return f" ({'; '.join(parts)})" if parts else ""
