"""The gate: limits on parity and accuracy, as data. ``proof.judge`` applies them.

The defaults stand once: per precision in ``edgekit.scheme``, per metric family here. A target's TOML names only what it
asks beyond them; a limit that is looser than the default is the user's own, and the result says so (``CUSTOM_GATE``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from edgekit.result import Family
from edgekit.scheme import Scheme

#: Distributions whose versions change what is done here.
PACKAGES = ("pydantic",)


class ParityLimits(BaseModel):
    """``[gate.parity]``: how close every output must be to the checkpoint's; see ``proof.parity`` for the figures.

    Attributes:
        sqnr_db_min: error against the size of the answers.
        cosine_min: likewise.
        variation_db_min: error against how far the answers move from sample to sample.
        channel_db_min: the same of the worst channel; of outputs that hold classes it is a finding, not a failure.
        equal_min: share of equal values of integer and boolean outputs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sqnr_db_min: float
    cosine_min: float = Field(ge=0, le=1)
    variation_db_min: float
    channel_db_min: float
    equal_min: float = Field(ge=0, le=1)


class DropLimit(BaseModel):
    """``[gate.top1]``, ``[gate.map]`` (points, 0.01 is one percentage point) and ``[gate.relative]`` (a fraction)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    drop_max: float = Field(gt=0, lt=1)


def parity(scheme: Scheme) -> ParityLimits:
    """The defaults of a scheme."""
    return ParityLimits(**{f"{name}_min": floor for name, floor in asdict(scheme.floors).items()})


DROP: Mapping[Family, DropLimit] = {
    "top1": DropLimit(drop_max=0.01),
    "map": DropLimit(drop_max=0.01),
    "relative": DropLimit(drop_max=0.02),
}
#: The highest ``drop_max`` that a packaged target may have: points for ``top1`` and ``map``, a fraction for
#: ``relative``.
DROP_CEILING: Mapping[Family, float] = {"top1": 0.02, "map": 0.02, "relative": 0.05}


class Gate(BaseModel):
    """``[gate]`` of a target with the defaults filled in: every family has a limit, so that no metric goes unjudged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parity: ParityLimits
    top1: DropLimit
    map: DropLimit
    relative: DropLimit

    def drop_max(self, family: Family) -> float:
        """Return the family's limit on the drop."""
        limits: Mapping[Family, DropLimit] = {"top1": self.top1, "map": self.map, "relative": self.relative}
        return limits[family].drop_max

    def beyond_ceilings(self, scheme: Scheme) -> list[str]:
        """Return one sentence per limit that is looser than a packaged target may be; empty where none is."""
        mine, least = self.parity.model_dump(), parity(scheme).model_dump()
        found = [
            f"{name} = {mine[name]} is below {floor} for {scheme.name}"
            for name, floor in least.items()
            if mine[name] < floor
        ]
        found += [
            f"{family}.drop_max = {self.drop_max(family)} is above {ceiling}"
            for family, ceiling in DROP_CEILING.items()
            if self.drop_max(family) > ceiling
        ]
        return found


def with_defaults(scheme: Scheme, given: Mapping[str, Any]) -> dict[str, Any]:
    """A ``[gate]`` as it stands in a TOML file or an older manifest, filled up with the defaults of its scheme."""
    filled: dict[str, Any] = {"parity": parity(scheme).model_dump()}
    filled |= {family: limit.model_dump() for family, limit in DROP.items()}
    for table, values in given.items():
        filled[table] = {**filled[table], **values} if table in filled and isinstance(values, dict) else values
    return filled
