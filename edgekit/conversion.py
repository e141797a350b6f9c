"""The values of one conversion: what was asked for, what was loaded, the samples, and everything that was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.candidate import Candidate
from edgekit.data.plan import DataPlan
from edgekit.errors import FailedError, UsageError
from edgekit.jobs.run import Ref
from edgekit.jobs.store import Entry
from edgekit.signature import WHOLE, Framework, Signature
from edgekit.sources import source as sources
from edgekit.sources.source import Source
from edgekit.target import PassedOver, Target, TargetRoute, Trait

#: Fewer calibration samples than this are used, but warned about.
FEW_CALIBRATION_SAMPLES = 32


@dataclass(frozen=True)
class Order:
    """What the user asked for.

    ``roles`` is what they say that outputs are for, by name. Without ``latency`` nothing is timed: the first route that
    passes is chosen, and the result names no speed.
    """

    source: Source
    target: Target
    plan: DataPlan
    output: Path | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    search_routes: bool = False
    allow_mixed: bool = False
    allow_unproven: bool = False
    latency: bool = True


class Described(BaseModel):
    """What a child said of a source that it loaded; one that loaded a file of others may say anything."""

    model_config = ConfigDict(frozen=True)

    signature: Signature
    framework: Framework
    notes: tuple[str, ...]

    @classmethod
    def read(cls, answer: Any) -> Described:
        """Hold an answer to what it should be; raises ``FailedError`` where it is something else."""
        try:
            return cls.model_validate(answer)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise FailedError(f"the model is described by what is no description: {where}") from error


@dataclass(frozen=True)
class LoadedPart:
    """One part of a source: the whole of it, or one of the models that it is deployed as."""

    source: Source
    signature: dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A source whose parts, inputs and outputs are known, and the kind of child that runs it.

    Attributes:
        parts: by name, in the order in which a step calls them.
        environment: the kind of child.
        framework: whose model it is.
        notes: facts that the user must know.
        roles: what the user says that outputs are for, by output.
    """

    parts: Mapping[str, LoadedPart]
    environment: str
    framework: str
    notes: tuple[str, ...]

    roles: Mapping[str, str] = field(default_factory=dict)

    @property
    def signatures(self) -> dict[str, dict[str, Any]]:
        """Inputs, outputs and states of every part; what outputs are for, as the user or else the zoo says."""
        return {name: _with_roles(part.signature, self.roles) for name, part in self.parts.items()}

    def classes(self, part: str, *, scored: bool) -> list[str]:
        """Outputs of a part that are told apart by their largest value.

        Args:
            part: the part's name.
            scored: whether a metric of classes was measured: the first output holds them, where none is said to.
        """
        outputs = self.signatures[part]["outputs"]
        said = [output["name"] for output in outputs if output["role"] == "classes"]
        return said or ([outputs[0]["name"]] if scored else [])

    def serving(self, target: Target, facts: Mapping[str, Mapping[str, Any]]) -> list[tuple[TargetRoute, str]]:
        """The target's routes that serve this source, in order, each with the kind of child that runs it.

        Args:
            target: whose routes.
            facts: of all routes of its toolchain, as ``edgekit.steps.convert.routes`` tells them.

        Raises:
            UsageError: the target names a route that its toolchain does not have.
        """
        if unknown := [route.name for route in target.routes if route.name not in facts]:
            raise UsageError(
                f"target {target.name} names the route {unknown[0]!r}, which {target.toolchain} does not have; "
                f"it has {', '.join(sorted(facts))}",
                hint="Correct the target's TOML.",
            )
        kinds = [(route, self._environment_for(facts[route.name])) for route in target.routes]
        return [(route, environment) for route, environment in kinds if environment]

    def _environment_for(self, route: Mapping[str, Any]) -> str | None:
        wanted = route["environments"].get(self.framework)
        if wanted is None or route["quantizes_file"]:
            return wanted and "runtime"
        able = sources.environments(next(iter(self.parts.values())).source)
        if wanted in able:
            return str(wanted)
        # A model that only Keras 2 loads takes the TensorFlow routes in a child of its own.
        return "tf-keras" if wanted == "keras-tensorflow" and "tf-keras" in able else None

    @property
    def agree_on(self) -> str | None:
        """The output whose largest value is compared where there are no labels; None where no output has several."""
        [name, *_] = self.parts
        said = self.classes(name, scored=True)[0]
        shape = next(o["shape"] for o in self.signatures[name]["outputs"] if o["name"] == said)
        return said if len(shape) > 1 and shape[-1] > 1 and not self.streams else None

    @property
    def streams(self) -> bool:
        """Whether the model is called step by step: several parts, or a state."""
        return list(self.parts) != [WHOLE] or any(signature["state"] for signature in self.signatures.values())


@dataclass(frozen=True)
class PlannedRoute:
    """A route of the target that serves the source: the kind of child that runs it, and why it is not tried, if so."""

    name: str
    environment: str
    passed_over: PassedOver | None


@dataclass(frozen=True)
class Plan:
    """The routes that serve a source in the target's order, and the traits of every part that decided about them.

    ``traits`` is None where no route asks for them.
    """

    routes: tuple[PlannedRoute, ...]
    traits: Mapping[str, frozenset[Trait]] | None

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

    def of_part(self, part: str) -> frozenset[Trait]:
        """The traits of one part."""
        return self.traits[part] if self.traits is not None else frozenset()


def nothing_to_try(order: Order, loaded: Loaded, plan: Plan) -> Candidate:
    """What stands for the candidates where no route serves the source.

    Raises:
        UsageError: routes do, and each is passed over.
    """
    target, framework = order.target.name, loaded.framework
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
    return Candidate("none", "UNSUPPORTED", reason, hint=hint)


@dataclass(frozen=True)
class Samples:
    """One split as a file, and the framework's own outputs on it.

    Attributes:
        split: which one.
        entry: the samples.
        reference: what the framework's run gave; None where it was not run.
        parts: samples of each part; of a stream, steps of the framework's run with the states that it had.
    """

    split: str
    entry: Entry
    reference: Entry | None
    parts: Mapping[str, Ref]

    @property
    def count(self) -> int:
        """Number of samples; 0 where there is no such split."""
        return int(self.entry.value["count"])

    @property
    def labelled(self) -> bool:
        """Whether the samples have labels."""
        return bool(self.entry.value["labels"])

    @property
    def file(self) -> Ref:
        """The samples."""
        return Ref(self.entry, "samples.npz")

    @property
    def outputs(self) -> Ref:
        """The folder of the framework's outputs on them."""
        assert self.reference is not None
        return Ref(self.reference, "")


@dataclass(frozen=True)
class Outcome:
    """Everything that a conversion found, for the package."""

    loaded: Loaded
    samples: list[Samples]
    twin: Candidate | None
    plan: Plan
    candidates: list[Candidate]
    chosen: Candidate | None
    tested: Candidate | None


def _with_roles(signature: dict[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    outputs = [{**output, "role": roles.get(output["name"], output["role"])} for output in signature["outputs"]]
    return {**signature, "outputs": outputs}
