"""Which of a target's routes are tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from edgekit.checkpoint import Checkpoint
from edgekit.conversion.candidate import NO_ROUTE, Candidate
from edgekit.conversion.order import Order
from edgekit.errors import UsageError
from edgekit.signature import Trait
from edgekit.steps.convert import RouteFacts
from edgekit.target import PassedOver, Target, TargetRoute


def serving(checkpoint: Checkpoint, target: Target, facts: Mapping[str, RouteFacts]) -> list[tuple[TargetRoute, str]]:
    """The target's routes that serve a checkpoint, in order, each with the kind of child that runs it.

    Args:
        checkpoint: what is converted.
        target: whose routes.
        facts: of all routes of its toolchain.

    Raises:
        UsageError: the target names a route that its toolchain does not have.
    """
    if unknown := [route.name for route in target.routes if route.name not in facts]:
        raise UsageError(
            f"target {target.name} names the route {unknown[0]!r}, which {target.toolchain} does not have; "
            f"it has {', '.join(sorted(facts))}",
            hint="Correct the target's TOML.",
        )
    kinds = [(route, _environment(checkpoint, facts[route.name])) for route in target.routes]
    return [(route, environment) for route, environment in kinds if environment]


def _environment(checkpoint: Checkpoint, route: RouteFacts) -> str | None:
    wanted = route.environments.get(checkpoint.framework)
    if wanted is None or route.quantizes_file:
        return wanted and "runtime"
    able = checkpoint.able()
    if wanted in able:
        return wanted
    # A model that only Keras 2 loads takes the TensorFlow routes in a child of its own.
    return "tf-keras" if wanted == "keras-tensorflow" and "tf-keras" in able else None


@dataclass(frozen=True)
class PlannedRoute:
    """A route of the target that serves the source: the kind of child that runs it, and why it is not tried, if so."""

    name: str
    environment: str
    passed_over: PassedOver | None


@dataclass(frozen=True)
class Plan:
    """The routes that serve a source in the target's order, and the traits of every part that decided about them.

    ``traits`` is None where no route asks for them. ``unserved`` says why none of them is for this model.
    """

    routes: tuple[PlannedRoute, ...]
    traits: Mapping[str, frozenset[Trait]] | None
    unserved: str = ""

    @classmethod
    def of(
        cls,
        order: Order,
        serving: Iterable[tuple[TargetRoute, str]],
        traits: Mapping[str, frozenset[Trait]] | None,
    ) -> Plan:
        """Decide about each route that serves the source; a trait of one part is one of the whole."""
        found = frozenset[Trait]().union(*(traits or {}).values())
        options = {"search": order.search_routes, "allow_mixed": order.allow_mixed}
        routes = (PlannedRoute(r.name, environment, r.passed_over(found, **options)) for r, environment in serving)
        return cls(tuple(routes), traits)

    def beginning_with(self, route: str | None) -> Plan:
        """The plan with one route ahead of all: the one that the checkpoint was trained for."""
        return replace(self, routes=tuple(sorted(self.routes, key=lambda one: one.name != route)))

    def of_part(self, part: str) -> frozenset[Trait]:
        """The traits of one part."""
        return self.traits[part] if self.traits is not None else frozenset()


def nothing_to_try(order: Order, checkpoint: Checkpoint, plan: Plan) -> Candidate:
    """What stands for the candidates where no route serves the source.

    Raises:
        UsageError: routes do, and each is passed over.
    """
    target, framework = order.target.name, checkpoint.framework
    if plan.unserved:
        return Candidate(NO_ROUTE, "UNSUPPORTED", plan.unserved)
    if plan.routes:
        over = [(route.name, route.passed_over) for route in plan.routes if route.passed_over]
        ways = [f"pass --{o.option}" if o.option else "take another target" for _, o in over]
        raise UsageError(
            f"{target} passes over all routes for this model: {'; '.join(f'{name}: {o.reason}' for name, o in over)}",
            hint=f"To have it converted, {' or '.join(dict.fromkeys(ways))}.",
        )
    reason = f"{target} has no route for a {order.source.kind} source of {framework}"
    instead = ".keras" if framework == "keras" else ".pt2"
    hint = f"Hand in the model as {instead}, or as `file.py:function` that builds it."
    if framework == "onnx":
        reason = f"{target} has no route for an .onnx: ONNX Runtime, OpenVINO, TensorRT and LiteRT have"
        hint = "Hand in the model that it was exported from: .pt2, .keras, or `file.py:function` that builds it."
    return Candidate(NO_ROUTE, "UNSUPPORTED", reason, hint=hint)
