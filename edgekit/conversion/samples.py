"""The samples of one split, as files, and the framework's own run on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.data.tasks import Split
from edgekit.jobs.run import Ref
from edgekit.jobs.store import Entry
from edgekit.steps.reference import Answer as RanInFramework
from edgekit.steps.samples import EDGES
from edgekit.steps.samples import Answer as Made


@dataclass(frozen=True)
class SplitFiles:
    """One split as a file, and the checkpoint's own outputs on it.

    Attributes:
        split: which one.
        entry: the samples.
        reference: what the checkpoint's run gave; None where it was not run.
        source: what that of the source gave, where a recipe made another model of it.
        parts: samples of each part; of a stream, steps of the framework's run with the states that it had.
    """

    split: Split
    entry: Entry[Made]
    reference: Entry[RanInFramework] | None
    parts: Mapping[str, Ref]
    source: Entry[RanInFramework] | None = None

    @property
    def count(self) -> int:
        """Number of samples; 0 where there is no such split."""
        return self.entry.value.count

    @property
    def labelled(self) -> bool:
        """Whether the samples have labels."""
        return self.entry.value.labels

    @property
    def file(self) -> Ref:
        """The samples."""
        return Ref(self.entry, "samples.npz")

    @property
    def edges(self) -> Ref | None:
        """Inputs at the edge of what the model meets; None where it does not run on them."""
        ran = self.reference is not None and self.reference.value.edges
        return Ref(self.entry, EDGES) if ran else None

    @property
    def outputs(self) -> Ref:
        """The folder of the checkpoint's outputs on them."""
        assert self.reference is not None
        return Ref(self.reference, "")

    @property
    def source_outputs(self) -> Ref | None:
        """The folder of the source's, where it is another model."""
        return Ref(self.source, "") if self.source else None
