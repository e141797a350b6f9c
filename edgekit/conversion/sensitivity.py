"""What quantizing each layer alone costs: the map by which mixed precision chooses."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.conversion import trying
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.plan import Plan, PlannedRoute
from edgekit.conversion.trying import Trial
from edgekit.errors import FailedError, UnsupportedError, UsageError
from edgekit.jobs.run import Run
from edgekit.scheme import Kind, Rule
from edgekit.toolchains import Kept

#: What exporters call values that have no name of their own.
NUMBERED = re.compile(r"(val|Constant)(_\d+)?$")

#: Everything stays in float.
FLOAT = Rule(name="*", becomes="float")


@dataclass(frozen=True)
class Cost:
    """What one file differs from the checkpoint by, on selection samples.

    Attributes:
        names: of the layer that is quantized in it, first as rules know it; of ``Sensitivity.rest`` and
            ``whole`` none.
        part: whose layer it is.
        kind: what the layer does with its weights.
        macs: multiply-accumulates of one run.
        sqnr_db: error against the size of the answers; the worst output's.
        variation_db: error against how far the answers move from sample to sample; None where they do not.
        drop: of the metric, as ``result.Accuracy.drop``; None without labels.
    """

    names: tuple[str, ...]
    part: str
    kind: Kind | None
    macs: int
    sqnr_db: float
    variation_db: float | None
    drop: float | None

    @property
    def called(self) -> str:
        """The source's name of the layer, where it is known; else the file's."""
        own = self.names[0]
        return next((name for name in self.names[1:] if not own.startswith(name) and not NUMBERED.match(name)), own)

    @property
    def noise(self) -> float:
        """Power of the error against that of the answers' variation: costs of layers add up in it."""
        decibels = self.sqnr_db if self.variation_db is None else self.variation_db
        return float(10 ** (-decibels / 10))


@dataclass(frozen=True)
class Sensitivity:
    """The costs of a route's layers.

    Attributes:
        target: whose route.
        route: which; the first of the target's that takes rules per layer.
        metric: what ``drop`` is of; None without labels.
        samples: of selection, on which everything was run.
        inputs: whether they are data, or were generated for want of any.
        rest: all layers in float: what operators without weights cost.
        whole: all layers quantized.
        layers: each alone, the costliest first.
    """

    target: str
    route: str
    metric: str | None
    samples: int
    inputs: Literal["data", "generated"]
    rest: Cost
    whole: Cost
    layers: tuple[Cost, ...]


def measure(run: Run, trial: Trial, planned: Plan) -> Sensitivity:
    """Quantize each layer alone by the first of the planned routes that takes rules per layer.

    Every file is a step of its own: what an interrupted run has made is answered from the store by the next.

    Raises:
        UnsupportedError: no route that is tried takes rules per layer, or none finds a layer to quantize.
    """
    refused = []
    for route in planned.routes:
        if route.passed_over:
            continue
        try:
            return by_route(run, trial, planned, route)
        except (UnsupportedError, FailedError) as error:
            refused.append(f"{route.name}: {error}")
    raise UnsupportedError(
        f"{trial.order.target.name}: no route quantizes layers one by one: "
        f"{'; '.join(refused) or planned.unserved or 'it has none for this source'}",
        hint="Take another target.",
    )


def by_route(run: Run, trial: Trial, planned: Plan, route: PlannedRoute) -> Sensitivity:
    """Quantize each layer alone by one route.

    Raises:
        UnsupportedError: it takes no rules per layer, or finds no layer.
        FailedError: it cannot convert or execute the model.
    """
    everything = frozenset(trial.checkpoint.parts)
    floats = unquantized(run, trial, planned, route)
    layers = [(name, layer) for name, part in floats.parts.items() for layer in part.kept]
    whole = _made(run, trial, planned, route, dict.fromkeys(everything, ()))
    costs = []
    for name, layer in layers:
        rules = dict.fromkeys(everything, (FLOAT,)) | {name: (alone(trial, layer), FLOAT)}
        made = _made(run, trial, planned, route, rules)
        costs.append(cost(run, trial, made, name, layer))
    metric = trial.order.plan.metric if trial.selection.labelled else None
    return Sensitivity(
        target=trial.order.target.name,
        route=route.name,
        metric=metric,
        samples=trial.selection.count,
        inputs="generated" if trial.order.plan.generated else "data",
        rest=as_cost(floats),
        whole=cost(run, trial, whole),
        layers=tuple(sorted(costs, key=lambda cost: (-cost.noise, cost.names))),
    )


def unquantized(run: Run, trial: Trial, planned: Plan, route: PlannedRoute) -> Candidate:
    """The file of a route with every layer in float, judged on selection samples: what operators without weights cost.

    Raises:
        UnsupportedError: it takes no rules per layer, or finds no layer.
        FailedError: it cannot convert or execute the model.
    """
    made = _made(run, trial, planned, route, dict.fromkeys(trial.checkpoint.parts, (FLOAT,)))
    if not any(part.kept for part in made.parts.values()):
        raise UnsupportedError("it finds no layer to quantize")
    return trying.prove(run, trial, made, trial.selection, label=f"{trial.label}:all")


def alone(trial: Trial, layer: Kept) -> Rule:
    """The rule by which one layer becomes what the target says."""
    return Rule(name=glob.escape(layer.names[0]), becomes=trial.order.target.scheme)


def _made(
    run: Run, trial: Trial, planned: Plan, route: PlannedRoute, rules: Mapping[str, tuple[Rule, ...]]
) -> Candidate:
    """Convert every part by rules of its own."""
    try:
        parts = {
            name: trying.make_part(run, trial, name, planned.of_part(name), route, layers)
            for name, layers in rules.items()
        }
    except UsageError as error:  # a layer has no name that is its own
        raise UnsupportedError(str(error), hint=error.hint) from error
    return Candidate(route.name, "PASS", parts={name: parts[name] for name in trial.checkpoint.parts})


def cost(run: Run, trial: Trial, made: Candidate, part: str = "", layer: Kept | None = None) -> Cost:
    """Execute a file on selection samples and compare."""
    label = f"{trial.label}:{layer.names[-1] if layer else 'all'}"
    return as_cost(trying.prove(run, trial, made, trial.selection, label=label), part, layer)


def as_cost(proven: Candidate, part: str = "", layer: Kept | None = None) -> Cost:
    """What an executed file differs by."""
    assert proven.evidence is not None
    worst, accuracy = proven.evidence.parity, proven.evidence.accuracy
    return Cost(
        names=layer.names if layer else (),
        part=part,
        kind=layer.kind if layer else None,
        macs=layer.macs if layer else 0,
        sqnr_db=worst.sqnr_db,
        variation_db=worst.variation_db,
        drop=accuracy.drop if accuracy else None,
    )
