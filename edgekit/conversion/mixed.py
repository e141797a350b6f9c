"""Mixed precision: the fewest layers in higher precision that let the gate pass.

``sensitivity`` says what each layer costs. The costliest that fit within a twentieth of the multiply-accumulates are
tried first, and half of them only where these do not mend it. How few of them are enough is found by halving; each
number is a file of its own, converted by the route, executed on selection samples and judged by the whole gate. Fewer
layers also make the smaller and faster file: a budget that the fewest miss is met by no other number.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from edgekit.conversion import candidate as judging
from edgekit.conversion import sensitivity, trying
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.plan import Plan, PlannedRoute
from edgekit.conversion.sensitivity import Cost, Sensitivity
from edgekit.conversion.trying import Trial
from edgekit.errors import FailedError, UnsupportedError
from edgekit.jobs.run import Run
from edgekit.scheme import Rule, Scheme
from edgekit.schemes import SCHEMES

#: Shares of the multiply-accumulates that may stay higher, one tried after the other. Up to the first a file is as good
#: as quantized; above the last another target is the better answer.
SHARES = (0.05, 0.5)


def wanted(trial: Trial, tried: Sequence[Candidate]) -> bool:
    """Whether the user allows it, no route that was tried passes, and one is near."""
    target = trial.order.target
    return trial.order.allow_mixed and not target.scheme.is_float and judging.near(tried, target.gate)


def search(run: Run, trial: Trial, planned: Plan, tried: Sequence[Candidate]) -> list[Candidate]:
    """Search by the routes that may be mended, in the target's order, until one passes and is not slow.

    Where a file with every layer in float does not pass either, it is what has no weights that loses.

    Returns:
        What was found by each route that was searched; nothing where no route takes rules per layer.
    """
    names = {made.route for made in tried if made.status in judging.MENDABLE}
    found: list[Candidate] = []
    for route in planned.routes:
        if route.passed_over or route.name not in names:
            continue
        names.remove(route.name)
        try:
            rest = sensitivity.unquantized(run, trial, planned, route)
            if rest.status != "PASS":
                found.append(Candidate(route.name, "FAILED", f"with every layer in float still: {rest.reason}"))
                continue
            costs = sensitivity.by_route(run, trial, planned, route)
        except (UnsupportedError, FailedError):
            continue
        for becomes in higher(trial.order.target.scheme):
            found.append(fewest(run, trial, planned, route, costs, becomes))
            if found[-1].status == "PASS":
                break
        if found[-1].status == "PASS" and not judging.is_slow(found[-1].latency):
            break
    return found


def fewest(
    run: Run, trial: Trial, planned: Plan, route: PlannedRoute, costs: Sensitivity, becomes: Scheme | Literal["float"]
) -> Candidate:
    """The candidate with the fewest layers in higher precision that passes; else the closest, which says so."""
    made: dict[tuple[Cost, ...], Candidate] = {}

    def passes(layers: tuple[Cost, ...]) -> bool:
        if layers not in made:
            rules = tuple(Rule(name=glob.escape(cost.names[0]), becomes=becomes) for cost in layers)
            asked = replace(trial, order=replace(trial.order, rules=rules, latency=False), label="mixed")
            made[layers] = trying.try_route(run, asked, planned, route)
        return made[layers].status == "PASS"

    for share in SHARES:
        layers = within(costs.layers, share)
        if layers and passes(layers):
            below, above = 0, len(layers)
            while above - below > 1:
                middle = (above + below) // 2
                below, above = (below, middle) if passes(layers[:middle]) else (middle, above)
            return trying.time_against_twin(run, trial, made[layers[:above]])
    if not made:
        return Candidate(route.name, "FAILED", f"each of its layers has more than {SHARES[-1]:.0%} of the MACs")
    layers, nearest = min(made.items(), key=lambda item: judging.distance(item[1]))
    called = f"the {len(layers)} costliest layers" if len(layers) > 1 else "the costliest layer"
    wide = becomes if becomes == "float" else becomes.name
    return replace(nearest, reason=f"with {called} in {wide} still: {nearest.reason}")


def within(layers: Sequence[Cost], share: float) -> tuple[Cost, ...]:
    """The costliest layers that together have at most so much of the multiply-accumulates; never all."""
    left = share * sum(layer.macs for layer in layers)
    fitting: list[Cost] = []
    for layer in layers:
        if layer.macs <= left:
            left -= layer.macs
            fitting.append(layer)
    return tuple(fitting[: len(layers) - 1])


def higher(scheme: Scheme) -> tuple[Scheme | Literal["float"], ...]:
    """What layers may become instead of a scheme, the smallest first: in int8 below 8 bits, where the route can."""
    if not scheme.below_8_bits:
        return ("float",)
    return (SCHEMES["int8-dynamic" if scheme.dynamic else "int8-weights"], "float")
