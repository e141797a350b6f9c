"""A row: one cell with all that is known of it, as a line of JSON in a file that only grows.

A cell is architecture (or source) x framework x recipe x target x device. Field names are a contract (schema 1): more
may be added, none changes its meaning; what was not measured is None.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from edgekit.proof.speed.measurement import Measured
from edgekit.result import Accuracy, Flag, Host, Proof, Status
from edgekit.result.speed import Latency, Speed

#: Of how things are measured: a row of another version is no measurement of today's.
HARNESS = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Cell(_Frozen):
    """What a row is about; rows of one cell are told apart by their dates.

    Attributes:
        model: architecture of the zoo, or the name of what was handed in.
        framework: ``keras`` or ``torch``; None of a file that nobody knows the source of.
        recipe: compression before conversion; None for none.
        target: None of a file that edgekit did not convert.
        device: where it is executed and timed.
    """

    model: str
    framework: str | None = None
    recipe: str | None = None
    target: str | None = None
    device: str = "cpu"

    def __str__(self) -> str:
        source = f"{self.model}@{self.framework}" if self.framework else self.model
        return " ".join(filter(None, (source, self.recipe, self.target, self.device)))


class Made(_Frozen):
    """The file, or files, and how they came about.

    Attributes:
        sha256: of the artifact's files (``contents.sha256_of``), or of the one file; a measurement is reused for the
            same bytes alone.
        path: where it lies; None where it was not kept.
        route: of the target that made it.
        float_size_bytes: of the float twin.
        macs_quantized_share: of the multiply-accumulates, those that run in integers.
        cpu_seconds: that the conversion took.
    """

    sha256: str | None = None
    path: str | None = None
    format: str | None = None
    toolchain: str | None = None
    precision: str | None = None
    route: str | None = None
    size_bytes: int | None = None
    float_size_bytes: int | None = None
    macs: int | None = None
    macs_quantized_share: float | None = None
    cpu_seconds: float | None = None


class ParityFigures(_Frozen):
    """How close the file is to the float model, of the worst output; see ``result.Parity``."""

    sqnr_db: float
    variation_db: float | None = None
    channel_db: float | None = None


class AgainstFloat(_Frozen):
    """``result.Latency``, of which rows of earlier releases have the ratio, its interval and the verdict alone."""

    ratio: float
    ratio_ci95: tuple[float, float]
    verdict: Speed | None = None
    float_cpu_ms: float | None = None
    artifact_cpu_ms: float | None = None
    noisy: bool | None = None
    blocks: int | None = None
    runs_per_block: tuple[int, int] | None = None
    wall_over_cpu: float | None = None
    measured_at: str | None = None
    reused: bool = False

    @classmethod
    def of(cls, latency: Latency | None) -> Self | None:
        """What a manifest says."""
        return cls.model_validate(latency.model_dump()) if latency else None


class Code(_Frozen):
    """What made and measured it.

    Attributes:
        edgekit: its version; None in rows of earlier releases, which have the commit.
        commit: of a checkout, with ``-dirty`` where it was changed; None of an installed package.
        sha256: of edgekit's own files, the targets and the pins: two rows of one hash are of the same code.
        harness: of measuring, see ``HARNESS``; 0 before there was one.
        tools: distribution -> version.
    """

    edgekit: str | None
    commit: str | None = None
    sha256: str | None = None
    harness: int = HARNESS
    tools: dict[str, str] = {}


class Row(_Frozen):
    """One cell.

    Attributes:
        status: of the conversion, as in its manifest; of a plain file that was measured ``NOT_RUN`` is never said:
            PASS means that it ran.
        against_float: CPU time as a ratio to the float twin's, measured in turns in one process.
        accuracy: on the task's own test samples.
        measured: None where the file was not timed.
        host: None in rows of earlier releases, of which the processor's name alone is known.
        fingerprint: of what measurements depend on (processor, cores, system, the very machine).
        at: when the row was measured, in UTC, as ISO 8601 has it. Of a ``REUSED`` measurement that is its own date.
    """

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    cell: Cell
    status: Status
    flags: tuple[Flag, ...] = ()
    reason: str = ""
    proof: Proof
    made: Made = Made()
    parity: ParityFigures | None = None
    accuracy: Accuracy | None = None
    against_float: AgainstFloat | None = None
    measured: Measured | None = None
    code: Code
    host: Host | None = None
    fingerprint: str | None = None
    processor: str | None = None
    at: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with the contract's names."""
        return self.model_dump(mode="json", by_alias=True)
