"""Mixed precision: the fewest layers in higher precision that let the gate pass.

The order comes from ``sensitivity``: each layer's own noise. How many of them is found by doubling and halving; each
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
from edgekit.conversion.sensitivity import Sensitivity
from edgekit.conversion.trying import Trial
from edgekit.errors import FailedError, UnsupportedError
from edgekit.jobs.run import Run
from edgekit.result import Status
from edgekit.scheme import Rule, Scheme
from edgekit.schemes import SCHEMES

#: What a better choice of layers may mend.
MENDABLE: tuple[Status, ...] = ("FAIL_ACCURACY", "FAIL_PARITY", "UNDECIDED")
#: Share of the multiply-accumulates that may stay higher; with more of them another target is the better answer.
MOST = 0.5


def wanted(trial: Trial, tried: Sequence[Candidate]) -> bool:
    """Whether the user allows it, no route that was tried passes, and one is near."""
    statuses = {made.status for made in tried}
    mixes = trial.order.allow_mixed and not trial.order.target.scheme.is_float
    return mixes and "PASS" not in statuses and bool(statuses & set(MENDABLE))


def search(run: Run, trial: Trial, planned: Plan, tried: Sequence[Candidate]) -> list[Candidate]:
    """Search by the routes that may be mended, in the target's order, until one passes and is not slow.

    Returns:
        Candidates of each route that was searched; none where no route takes rules per layer.
    """
    names = [made.route for made in tried if made.status in MENDABLE]
    found: list[Candidate] = []
    for route in planned.routes:
        if route.passed_over or route.name not in names:
            continue
        names.remove(route.name)
        try:
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
    most, made = _most(costs), dict[int, Candidate]()

    def passes(count: int) -> bool:
        if count not in made:
            rules = tuple(Rule(name=glob.escape(cost.names[0]), becomes=becomes) for cost in costs.layers[:count])
            asked = replace(trial, order=replace(trial.order, rules=rules, latency=False), label="mixed")
            made[count] = trying.try_route(run, asked, planned, route)
        return made[count].status == "PASS"

    above, below = 1, 0
    while above < most and not passes(above):
        above, below = above * 2, above
    above = min(above, most)
    if above and passes(above):
        while above - below > 1:
            middle = (above + below) // 2
            above, below = (middle, below) if passes(middle) else (above, middle)
        found = made[above]
        return trying.time_against_twin(run, trial, found)
    nearest_made = min(made.values(), key=_distance, default=None)
    if nearest_made is None:
        return Candidate(route.name, "FAILED", f"each of its layers has more than {MOST:.0%} of the MACs")
    layers = f"the {most} costliest layers" if most > 1 else "the costliest layer"
    wide = becomes if becomes == "float" else becomes.name
    return replace(nearest_made, reason=f"with {layers} in {wide} still: {nearest_made.reason}")


def _most(costs: Sensitivity) -> int:
    """How many of the costliest layers may stay higher: each with its MACs, up to the share that is sensible."""
    total, macs = sum(layer.macs for layer in costs.layers), 0
    for count, layer in enumerate(costs.layers):
        macs += layer.macs
        if macs > MOST * total or count + 1 == len(costs.layers):
            return count
    return 0


def higher(scheme: Scheme) -> tuple[Scheme | Literal["float"], ...]:
    """What layers may become instead of a scheme, the smallest first: in int8 below 8 bits, where the route can."""
    if not scheme.below_8_bits:
        return ("float",)
    return (SCHEMES["int8-dynamic" if scheme.dynamic else "int8-weights"], "float")


def _distance(made: Candidate) -> tuple[int, float]:
    """How far from passing: by status first, then by the error."""
    quality = made.evidence.parity.variation_db if made.evidence else None
    return judging.rank(made.status), -(quality if quality is not None else 0.0)
