"""The gate: limits on parity and accuracy, as data. ``proof.judge`` applies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from edgekit.scheme import Precision

#: How a drop is judged: points of a proportion, points of average precision, or a fraction of the float value.
Family = Literal["top1", "map", "relative"]

#: The lowest ``sqnr_db_min`` that a packaged target may ask, per precision. fp32 and fp16 differ from the framework
#: by rounding only (measured 120 to 140 and 63 to 84 dB); an int8 file below 15 dB has something wrong with it, and
#: weights alone in int8 cost less (measured 35 to 60 dB).
SQNR_FLOOR_DB: Mapping[Precision, float] = {
    "fp32": 95.0,
    "fp16": 55.0,
    "int8": 15.0,
    "int8-dynamic": 20.0,
    "int8-weights": 20.0,
    "int16x8": 20.0,
}
#: The lowest ``cosine_min``: noise of 15 dB alone gives 0.984; below that is more than noise.
COSINE_FLOOR = 0.98
#: The highest ``drop_max`` per metric family: points for ``top1`` and ``map``, a fraction for ``relative``.
DROP_CEILING: Mapping[Family, float] = {"top1": 0.02, "map": 0.02, "relative": 0.05}


class ParityLimits(BaseModel):
    """``[gate.parity]``: the worst output must be at least this close to the checkpoint's."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sqnr_db_min: float
    cosine_min: float = Field(ge=0, le=1)


class DropLimit(BaseModel):
    """``[gate.top1]``, ``[gate.map]`` (points, 0.01 is one percentage point) and ``[gate.relative]`` (a fraction)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    drop_max: float = Field(gt=0, lt=1)


class Gate(BaseModel):
    """``[gate]`` of a target: every family has a limit, so that no metric goes unjudged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parity: ParityLimits
    top1: DropLimit
    map: DropLimit
    relative: DropLimit

    def drop_max(self, family: Family) -> float:
        """Return the family's limit on the drop."""
        limits: Mapping[Family, DropLimit] = {"top1": self.top1, "map": self.map, "relative": self.relative}
        return limits[family].drop_max

    def beyond_ceilings(self, precision: Precision) -> list[str]:
        """Return one sentence per limit that is looser than a packaged target may be; empty where none is."""
        found = []
        if self.parity.sqnr_db_min < SQNR_FLOOR_DB[precision]:
            found.append(f"sqnr_db_min = {self.parity.sqnr_db_min} is below {SQNR_FLOOR_DB[precision]} for {precision}")
        if self.parity.cosine_min < COSINE_FLOOR:
            found.append(f"cosine_min = {self.parity.cosine_min} is below {COSINE_FLOOR}")
        found += [
            f"{family}.drop_max = {self.drop_max(family)} is above {ceiling}"
            for family, ceiling in DROP_CEILING.items()
            if self.drop_max(family) > ceiling
        ]
        return found
