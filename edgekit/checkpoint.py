"""The model that is converted: the source after a recipe, as plain models that load without edgekit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace

from edgekit.data import detection
from edgekit.result.recipe import RecipeFacts
from edgekit.scheme import Range
from edgekit.signature import BOXES, SCORES, WHOLE, Framework, Signature, TensorSpec
from edgekit.sources import source as sources
from edgekit.sources.source import Source

#: In the folder of a checkpoint: what was done, beside the model.
FACTS = "recipe.json"
#: The ranges of activations that training had, by nodes of the model's exported graph.
RANGES = "ranges.json"


@dataclass(frozen=True)
class Checkpoint:
    """What loading, and later a recipe, gives: parity is taken against it, a drop against the source.

    Attributes:
        source: as it was handed in, and looked at.
        parts: the models, by name, in the order in which a step calls them.
        signatures: inputs, outputs and states of every part; what outputs are for, as the user or else the zoo says.
        environment: the kind of child that runs them.
        framework: whose models they are.
        notes: facts that the user must know.
        recipe: what was done to the source; None where it is converted as it is.
        ranges: of activations, where a recipe was trained with them.
        route: whose files have the tensors of these ranges; others find theirs by calibration.
        nodes: of the model's graph, which are such tensors, by these.
        steps: what a user's recipe did, step by step.
    """

    source: Source
    parts: Mapping[str, Source]
    signatures: Mapping[str, Signature]
    environment: str
    framework: Framework
    notes: tuple[str, ...] = ()
    recipe: str | None = None
    ranges: tuple[Range, ...] = field(default=())
    route: str | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    steps: RecipeFacts | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of all that makes it this one: the models' content, the recipe, the ranges."""
        parts = {name: part.identity() for name, part in self.parts.items()}
        said = {"parts": parts, "recipe": self.recipe, "ranges": [asdict(one) for one in self.ranges]}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def ranges_for(self, route: str) -> tuple[Range, ...]:
        """The ranges that files of a route get."""
        return self.ranges if route == self.route else ()

    @property
    def on_steps(self) -> Mapping[str, Range]:
        """The ranges by nodes of the model's graph; of tensors that are one value, the first."""
        there = [one for one in reversed(self.ranges) if one.tensor in self.nodes]
        return {self.nodes[one.tensor]: replace(one.called(self.nodes), tensor=one.tensor) for one in there}

    @property
    def changed(self) -> bool:
        """Whether a recipe made another model of the source, so that both are run."""
        return self.recipe is not None

    @property
    def as_made(self) -> str:
        """What a recipe did last, as a word for the model."""
        done = {"prune": "pruned", "qat": "trained", "finetune": "trained", "gptq": "rounded"}
        return done.get((self.recipe or "").rpartition(", ")[2].partition(" ")[0], "equalized")

    def classes(self, part: str, *, scored: bool) -> list[str]:
        """Outputs of a part that are told apart by their largest value.

        Args:
            part: the part's name.
            scored: whether a metric of classes was measured: what it reads holds them, where nothing is said to.
        """
        outputs = self.signatures[part].outputs
        said = [output.name for output in outputs if output.role == "classes"]
        read = next((output for output in outputs if output.role == "scored"), outputs[0])
        return said or ([read.name] if scored else [])

    @property
    def agree_on(self) -> str | None:
        """The output whose largest value is compared where there are no labels; None where no output has several."""
        [name, *_] = self.parts
        said = self.classes(name, scored=True)[0]
        shape = next(o.shape for o in self.signatures[name].outputs if o.name == said)
        return said if len(shape) > 1 and shape[-1] > 1 and not self.streams else None

    @property
    def streams(self) -> bool:
        """Whether the model is called step by step: several parts, or a state."""
        return list(self.parts) != [WHOLE] or any(signature.state for signature in self.signatures.values())

    def able(self) -> tuple[str, ...]:
        """Kinds of child that can load it, the preferred one first."""
        return sources.environments(next(iter(self.parts.values())))


def with_roles(signature: Signature, roles: Mapping[str, str]) -> Signature:
    """The signature with what outputs are for, as far as somebody says more than it does.

    Of a detector's outputs that also says which axis has different things along it: coordinates, and classes. Along the
    other one lie its boxes, of which one in a corner of the image may hardly ever move.
    """
    outputs = [replace(o, role=roles.get(o.name, o.role)) for o in signature.outputs]
    counts = {o.shape[3 - _box_axis(o)] for o in outputs if o.role in BOXES and len(o.shape) == 3}
    return replace(signature, outputs=tuple(_with_its_axis(o, counts) if o.name in roles else o for o in outputs))


def _with_its_axis(output: TensorSpec, counts: Collection[int]) -> TensorSpec:
    """An output of a detector with the axis of coordinates and classes; ``counts`` is how many boxes it has."""
    if len(output.shape) != 3 or output.shape[0] != 1:
        return output
    if output.role in BOXES or "+" in output.role:
        return replace(output, channels=(_box_axis(output),))
    if output.role in SCORES and counts:
        turned = output.shape[1] not in counts and output.shape[2] in counts
        return replace(output, channels=(1 if turned else 2,))
    return output


def _box_axis(output: TensorSpec) -> int:
    return detection.box_axis(output.shape, both="+" in output.role)
