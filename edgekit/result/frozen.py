"""What all facts of a result are: frozen, and without fields that nobody knows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Facts under the names of the contract."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Measured(Frozen):
    """Scores and times are numbers: what is none comes from nothing that was measured, and would pass every limit."""

    model_config = ConfigDict(allow_inf_nan=False)
