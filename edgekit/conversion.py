"""The values of one conversion: what was asked for, what was loaded, the samples, and everything that was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.candidate import Candidate
from edgekit.data.plan import DataPlan
from edgekit.jobs.run import Ref
from edgekit.jobs.store import Entry
from edgekit.signature import WHOLE
from edgekit.sources.source import Source
from edgekit.target import Target

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
            scored: whether an accuracy metric reads classes: of the first output, where none is said to hold them.
        """
        outputs = self.signatures[part]["outputs"]
        said = [output["name"] for output in outputs if output["role"] == "classes"]
        return said or ([outputs[0]["name"]] if scored else [])

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
    candidates: list[Candidate]
    chosen: Candidate | None
    tested: Candidate | None


def _with_roles(signature: dict[str, Any], roles: Mapping[str, str]) -> dict[str, Any]:
    outputs = [{**output, "role": roles.get(output["name"], output["role"])} for output in signature["outputs"]]
    return {**signature, "outputs": outputs}
