"""The row of a conversion, from its result or the manifest that holds it; nothing in it is timed alone."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from edgekit.artifact import contents
from edgekit.bench.row import AgainstFloat, Cell, Code, Made, ParityFigures, Row
from edgekit.result import IO, Accuracy, File, Flag, Host, Proof, Result, StateFacts, Status
from edgekit.result.speed import Latency


class Told(BaseModel):
    """What a manifest of any release says of what a row holds; of this release, ``Result`` itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    class Source(BaseModel):
        """What was handed in."""

        name: str
        config: str | None = None

    class Part(BaseModel):
        """One model of the artifact."""

        model_config = ConfigDict(extra="ignore")
        inputs: tuple[IO, ...]

    class Figures(BaseModel):
        """Closeness to the float model."""

        model_config = ConfigDict(extra="ignore")
        sqnr_db: float
        variation_db: float | None = None
        channel_db: float | None = None

    class Macs(BaseModel):
        """What is inside."""

        model_config = ConfigDict(extra="ignore")
        macs_total: int | None = None
        macs_quantized_share: float | None = None
        ops_total: int | None = None

    status: Status
    reason: str = ""
    flags: tuple[Flag, ...] = ()
    proof: Proof
    target: str
    format: str
    toolchain: str
    precision: str
    framework: str
    source: Source
    route: str | None = None
    size_bytes: int | None = None
    float_size_bytes: int | None = None
    files: tuple[File, ...] = ()
    parts: dict[str, Part] = Field(default_factory=dict)
    state: dict[str, tuple[StateFacts, ...]] = Field(default_factory=dict)
    audit: Macs | None = None
    parity: Figures | None = None
    accuracy: Accuracy | None = None
    latency: Latency | None = None
    tools: dict[str, str] = Field(default_factory=dict)
    cpu_seconds: dict[str, float] = Field(default_factory=dict)


def named(model: str, config: str | None) -> str:
    """A model as a cell calls it: a configuration other than ``tiny`` belongs to its name."""
    return model if config in (None, "tiny") else f"{model}:{config}"


def cell_of(result: Result | Told) -> Cell:
    """What was converted to what."""
    name = named(result.source.name, result.source.config)
    return Cell(model=name, framework=result.framework, target=result.target)


def row_of(
    result: Result | Told,
    *,
    code: Code,
    at: str,
    host: Host,
    cell: Cell | None = None,
    fingerprint: str | None = None,
    path: str | None = None,
) -> Row:
    """All that the result says.

    Its flags stay, but for REUSED, which says in a row that ``measured`` is of an earlier run: a figure that comes from
    the store was computed by this very code, or it would not be found there.

    Args:
        result: of the conversion.
        code: what made it; the tools are the result's.
        at: when.
        host: where.
        cell: where it is another than the result's own words.
        fingerprint: of the machine.
        path: where the artifact lies, if it stays there.
    """
    parity, audit = result.parity, result.audit
    figures = None
    if parity:
        figures = ParityFigures(
            sqnr_db=parity.sqnr_db, variation_db=parity.variation_db, channel_db=parity.channel_db
        )  # fmt: skip
    tools = {name: version for name, version in result.tools.items() if name != "edgekit"}
    return Row(
        cell=cell or cell_of(result),
        status=result.status,
        flags=tuple(flag for flag in result.flags if flag != "REUSED"),
        reason=result.reason,
        proof=result.proof,
        made=Made(
            sha256=contents.sha256_of(result.files) if result.files else None,
            path=path,
            format=result.format,
            toolchain=result.toolchain,
            precision=result.precision,
            route=result.route,
            size_bytes=result.size_bytes,
            float_size_bytes=result.float_size_bytes,
            macs=audit.macs_total if audit else None,
            macs_quantized_share=audit.macs_quantized_share if audit else None,
            cpu_seconds=round(sum(result.cpu_seconds.values()), 3) if result.cpu_seconds else None,
        ),
        parity=figures,
        accuracy=result.accuracy,
        against_float=AgainstFloat.of(result.latency),
        code=code.model_copy(update={"tools": tools}),
        host=host,
        fingerprint=fingerprint,
        processor=host.processor,
        at=at,
    )
