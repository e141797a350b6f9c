"""The row of a conversion, from its result or the manifest that holds it; nothing in it is timed alone."""

from __future__ import annotations

from edgekit.artifact import contents
from edgekit.bench.row import AgainstFloat, Cell, Code, Made, ParityFigures, Row
from edgekit.result import Result


def named(model: str, config: str | None) -> str:
    """A model as a cell calls it: a configuration other than ``tiny`` belongs to its name."""
    return model if config in (None, "tiny") else f"{model}:{config}"


def cell_of(result: Result) -> Cell:
    """What was converted to what."""
    name = named(result.source.name, result.source.config)
    return Cell(model=name, framework=result.framework, target=result.target)


def row_of(
    result: Result,
    *,
    code: Code,
    at: str,
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
            cpu_seconds=round(sum(result.cpu_seconds.values()), 3),
        ),
        parity=figures,
        accuracy=result.accuracy,
        against_float=AgainstFloat.of(result.latency),
        code=code.model_copy(update={"tools": tools}),
        host=result.host,
        fingerprint=fingerprint,
        processor=result.host.processor,
        at=at,
    )
