"""Everything that a conversion found, for the package."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.checkpoint import Checkpoint
from edgekit.conversion.candidate import Candidate
from edgekit.conversion.plan import Plan
from edgekit.conversion.samples import SplitFiles
from edgekit.result.speed import Gain


@dataclass(frozen=True)
class Outcome:
    """What was loaded, the samples, the float twin, the routes, what they made, what was chosen, tested and gained."""

    checkpoint: Checkpoint
    samples: list[SplitFiles]
    twin: Candidate | None
    plan: Plan
    candidates: list[Candidate]
    chosen: Candidate | None
    tested: Candidate | None
    gain: Gain | None = None
