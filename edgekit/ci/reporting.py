"""Results of assertions as rows of a benchmark, and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.bench.row import Row
from edgekit.cli import columns


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
