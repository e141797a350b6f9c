"""Tables of measurements, for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.cli import columns
from edgekit.cli.printing import say
from edgekit.proof.speed.measurement import Measured

if TYPE_CHECKING:
    from edgekit.bench.measuring import Ratio
    from edgekit.bench.row import Row


def measured(rows: Sequence[Row], ratios: Sequence[Ratio]) -> None:
    """A line per file; below, what to know of each."""
    against = {ratio.of: ratio for ratio in ratios}
    lines = []
    for row in rows:
        line = {"file": row.made.path or str(row.cell), "status": " ".join([row.status, *_marks(row)])}
        lines.append(line | (_figures(row.measured, row.made.size_bytes) if row.measured else {}))
        if ratios:
            ratio = against.get(row.made.path or "")
            low, high = ratio.ci95 if ratio else (0.0, 0.0)
            lines[-1]["x of the first"] = f"{ratio.ratio:.3f} ({low:.3f} to {high:.3f})" if ratio else ""
    names = dict.fromkeys(name for line in lines for name in line)
    sys.stdout.write(columns.columns([{name: line.get(name, "") for name in names} for line in lines]))
    for row in rows:
        for note in _notes(row):
            say(f"{row.made.path or row.cell}: {note}")


def _marks(row: Row) -> list[str]:
    return [flag for flag in row.flags if flag in ("NOISY", "REUSED", "SLOWER")]


def _figures(found: Measured, size: int | None) -> dict[str, str]:
    wall, cpu = found.wall, found.cpu
    low, high = wall.p50_ci95_ms or (None, None)
    figures = {
        "p50 ms": f"{wall.p50_ms:.4g}" + (f" ({low:.4g} to {high:.4g})" if low is not None else ""),
        "p90": f"{wall.p90_ms:.4g}" if wall.p90_ms is not None else "",
        "p99": f"{wall.p99_ms:.4g}" if wall.p99_ms is not None else "",
        "n": str(wall.n),
        "CPU ms": f"{cpu.p50_ms:.4g}",
        "load ms": f"{found.load_ms:.4g}",
        "first ms": f"{found.first_ms:.4g}",
        "MB": f"{size / 1e6:.3f}" if size is not None else "",
        "memory MB": f"{found.peak_rss_bytes / 1e6:.0f}" if found.peak_rss_bytes else "",
        "runs in": found.precision,
    }
    if found.of_square_matmul is not None:
        figures["of matmul"] = f"{found.of_square_matmul:.0%}"
    return figures


def _notes(row: Row) -> list[str]:
    found = row.measured
    if found is None:
        return [row.reason]
    notes = [f"NOISY: {why}" for why in found.conditions.noisy_because]
    if found.inputs == "generated":
        notes.append("inputs are drawn numbers, no samples: --inputs FILE.npz gives yours")
    if found.steps > 1:
        notes.append(f"times are of one step of a sequence of {found.steps}")
    if found.tokens is not None:
        each = found.tokens
        first_token = f"the first after {each.first_token_ms:.4g} ms ({each.prompt} tokens given)"
        notes.append(f"writes {each.tokens_per_s:.4g} tokens/s, {first_token}")
    if found.sustained:
        first, last = found.sustained[0], found.sustained[-1]
        times = last.wall_p50_ms / first.wall_p50_ms
        notes.append(f"after {last.at_s:.0f} s an inference takes {times:.2f} x what it did at first")
    if found.operators:
        top = ", ".join(f"{one.name or one.kind} {one.ms:.3g} ms" for one in found.operators[:3])
        notes.append(f"longest operators: {top}")
    return notes
