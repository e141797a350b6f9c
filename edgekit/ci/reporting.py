"""Results of assertions as rows of a benchmark, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.bench import stamp
from edgekit.bench.row import AgainstFloat, Cell, Made, ParityFigures, Row
from edgekit.cli import columns
from edgekit.jobs.store import sha256_file
from edgekit.result import Result


def row_of(result: Result) -> Row:
    """A conversion as a row that was not timed."""
    folder, parity = result.artifact or result.rejected, result.parity
    seal = Path(folder) / "manifest.sha256" if folder else None
    made = Made(
        sha256=sha256_file(seal) if seal and seal.is_file() else None,
        format=result.format,
        toolchain=result.toolchain,
        precision=result.precision_reached,
        route=result.route,
        size_bytes=result.size_bytes,
        float_size_bytes=result.float_size_bytes,
        macs=result.audit.macs_total if result.audit else None,
        macs_quantized_share=result.audit.macs_quantized_share if result.audit else None,
        cpu_seconds=round(sum(result.cpu_seconds.values()), 3),
    )
    figures = None
    if parity is not None:
        figures = ParityFigures(
            sqnr_db=parity.sqnr_db, variation_db=parity.variation_db, channel_db=parity.channel_db
        )  # fmt: skip
    return Row(
        cell=Cell(model=result.source.name, framework=result.framework, target=result.target),
        status=result.status,
        flags=result.flags,
        reason=result.reason,
        proof=result.proof,
        made=made,
        parity=figures,
        accuracy=result.accuracy,
        against_float=AgainstFloat.of(result.latency),
        code=stamp.code().model_copy(update={"tools": result.tools}),
        host=result.host,
        fingerprint=stamp.fingerprint(),
        processor=result.host.processor,
        at=stamp.now(),
    )


def table(found: Sequence[tuple[str, Row]]) -> str:
    """Each result with its test."""
    return columns.columns(
        [
            {
                "test": test,
                "cell": str(row.cell),
                "status": row.status,
                "accuracy": _accuracy(row),
                "drop (95 % interval)": _drop(row),
                "parity": f"{row.parity.sqnr_db:.1f} dB" if row.parity else "not measured",
                "bytes": row.made.size_bytes,
            }
            for test, row in found
        ]
    )


def _accuracy(row: Row) -> str:
    return f"{row.accuracy.metric} {row.accuracy.artifact:.4f}" if row.accuracy else "not measured"


def _drop(row: Row) -> str:
    if row.accuracy is None:
        return ""
    low, high = row.accuracy.drop_ci95
    return f"{row.accuracy.drop:+.4f} ({low:+.4f} to {high:+.4f}, n = {row.accuracy.samples})"
