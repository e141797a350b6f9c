"""What the steps of a recipe did."""

from __future__ import annotations

from typing import Literal

from edgekit.result.frozen import Frozen, Measured
from edgekit.scheme import Kind


class EpochFacts(Measured):
    """One epoch of training: its mean loss (None before training), and the metric with weights on the grid."""

    epoch: int
    loss: float | None
    value: float


#: What a kernel for groups of weights needs of every group, which audits count.
GROUPS = "2:4"


class PrunedLayer(Frozen):
    """A layer with zeros among its weights.

    Attributes:
        name: as the source calls it.
        kind: what it does.
        weights: how many it has.
        zeros: how many of them are zero.
    """

    name: str
    kind: Kind
    weights: int
    zeros: int


class PruningFacts(Frozen):
    """What pruning left out.

    Attributes:
        pattern: as it was asked for.
        scope: whether weights are the smallest of all layers (``global``), or of their own; None of other patterns.
        ramp: part of the training in which the zeros become more; see ``compress.prune.schedule``.
        layers: every layer with zeros.
        left: layers of a kind that is pruned which the pattern does not fit, or that are frozen, each with the reason.
    """

    pattern: str
    scope: Literal["global", "layer"] | None
    ramp: float
    layers: tuple[PrunedLayer, ...]
    left: tuple[str, ...]

    @property
    def zeros(self) -> float:
        """Share of the zeros in the weights of all these layers."""
        return sum(layer.zeros for layer in self.layers) / sum(layer.weights for layer in self.layers)


class Width(Frozen):
    """Channels of a layer, by the name of its weights: how many it gave, and gives now."""

    name: str
    before: int
    after: int


class NarrowingFacts(Frozen):
    """Channels that a step took out, so that shapes are smaller.

    Attributes:
        pattern: as it was asked for.
        widths: of the layers that give fewer channels.
        left: layers whose channels cannot be followed, each with the reason.
        parameters: numbers in all weights, before and after; statistics of norms are none.
        error: largest difference from the wide model with these channels at zero, as part of how far outputs vary.
    """

    pattern: str
    widths: tuple[Width, ...]
    left: tuple[str, ...]
    parameters: tuple[int, int]
    error: float


#: Where the ranges of a file's activations come from.
Activations = Literal["carried", "calibrated", "dynamic", "float"]


class StepFacts(Frozen):
    """What one step of a recipe did; ``settings`` are its own.

    Attributes:
        kind: ``prune``: zeros that become more, or channels that are taken out; ``qat``; ``finetune``: in float. Zeros
            of a pruned model stay.
        layers: weights that lie on the target's grid.
        pruning: what a step of that kind left out.
        held: layers that steps before pruned, with the weights and zeros that they have behind this one.
        narrowing: which channels it took out.
        without_rule: weights of a kind that the step is about, and of which it could make nothing.
        metric: that chose the epoch, on ``selection_samples``.
        dropped: training samples that were left out because they are among the evaluation samples, too.
        curve: epoch 0 is the source with its weights rounded, or pruned at once.
        kept: the epoch whose weights are the checkpoint's.
        stopped: why training ended early, or an empty string.
        activations: where their ranges come from: ``carried`` from training, ``calibrated`` anew by the route,
            ``dynamic`` at run time; ``float`` where they have none.
    """

    kind: Literal["prune", "qat", "finetune"]
    settings: dict[str, int | float]
    layers: int
    ranges: int = 0
    pruning: PruningFacts | None = None
    held: tuple[PrunedLayer, ...] = ()
    narrowing: NarrowingFacts | None = None
    without_rule: tuple[str, ...]
    metric: str
    train_samples: int
    train_sha256: str
    dropped: int
    selection_samples: int
    curve: tuple[EpochFacts, ...]
    kept: int
    stopped: str
    activations: Activations
    cpu_seconds: float


class RecipeFacts(Frozen):
    """The recipe that made the checkpoint of the source, and what each of its steps did.

    ``source`` is the metric of the source as it was handed in, on the selection samples of the steps; manifests of
    earlier releases do not have it.
    """

    name: str
    steps: tuple[StepFacts, ...]
    source: float | None = None

    @property
    def pruned(self) -> tuple[PrunedLayer, ...]:
        """All layers that any step pruned, with the zeros of the checkpoint."""
        found: dict[str, PrunedLayer] = {}
        for step in self.steps:
            found |= {layer.name: layer for layer in step.held}
            found |= {layer.name: layer for layer in (step.pruning.layers if step.pruning else ())}
        return tuple(found.values())

    @property
    def grouped(self) -> frozenset[str]:
        """Names of the layers whose zeros lie two in each four."""
        patterns = ((step.pruning.pattern, step.pruning.layers) for step in self.steps if step.pruning)
        return frozenset(layer.name for pattern, layers in patterns if pattern == GROUPS for layer in layers)

    @property
    def narrows(self) -> bool:
        """Whether channels were taken out."""
        return any(step.narrowing is not None for step in self.steps)
