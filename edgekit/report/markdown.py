"""Rows as Markdown: for READMEs, for pull requests and for the summary of a job in CI."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekit.artifact.readme import text
from edgekit.bench.row import Row
from edgekit.report import charts, said
from edgekit.report.gather import Gathered
from edgekit.report.page import shares


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, of cells whose text may be anybody's."""
    rule = "|" + "---|" * len(head)
    return [_line(head), rule, *(_line(line) for line in lines)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(text(cell) for cell in cells)} |"


def markdown(found: Gathered) -> str:
    """Everything that Markdown can show: counts, the matrix where there are several models, every cell, what fails."""
    rows = found.newest()
    if not rows:
        return "No rows.\n"
    lines = [*by_format(rows), ""]
    if len({said.model(row) for row in rows}) > 1:
        lines += [*matrix(rows), ""]
    lines += [*every(rows), ""]
    if failing := reasons(rows):
        lines += ["**What does not pass:**", "", *failing, ""]
    return "\n".join(lines)


def by_format(rows: Iterable[Row]) -> list[str]:
    """How many cells of each format ended how; a stand-in is counted apart."""
    head = ("format", "cells", "PASS, proof runtime", "PASS, proof stand-in", "other")
    return table(head, [tuple(map(str, line)) for line in shares(rows)])


def matrix(rows: Sequence[Row]) -> list[str]:
    """A line per target, a column per model, a sign for each framework; what has no row is empty."""
    frameworks = sorted({row.cell.framework or "" for row in rows if row.cell.target})
    models = sorted({said.model(row) for row in rows if row.cell.target})
    cells = {(said.model(row), row.cell.framework or "", row.cell.target): row for row in rows}
    used = [status for status in said.STATUSES if any(row.status == status for row in rows)]
    legend = ", ".join(f"{said.STATUSES[status][0]} {text(status)}" for status in used)
    order = f" From {' / '.join(frameworks)}." if len(frameworks) > 1 else ""
    lines = [
        (name, *(" / ".join(_sign(cells.get((m, f, name))) for f in frameworks) for m in models))
        for _, names in charts.columns(rows)
        for name in names
    ]
    stand_in = ", `*` executed by a stand-in" if any(r.proof.kind == "stand-in" for r in rows) else ""
    return [f"{legend}{stand_in}.{order}", "", *table(("target", *models), lines)]


def _sign(row: Row | None) -> str:
    if row is None:
        return ""
    return said.STATUSES[row.status][0] + ("*" if row.proof.kind == "stand-in" else "")


def every(rows: Iterable[Row]) -> list[str]:
    """Status, accuracy, size and latency of every cell."""
    head = (
        "model", "target", "status", "accuracy: float → file", "drop [95 %]", "n", "size (of float)",
        "latency [95 %]", "CPU ratio to float [95 %]", "flags",
    )  # fmt: skip
    return table(head, [_cells(row) for row in rows])


def _cells(row: Row) -> tuple[str, ...]:
    a, made = row.accuracy, row.made
    source = f"{said.model(row)} ({row.cell.framework})" if row.cell.framework else said.model(row)
    accuracy = f"{a.metric} {said.amount(a.metric, a.float_)} → {said.accuracy(row)}" if a else ""
    share = f" ({made.size_bytes / made.float_size_bytes:.0%})" if made.size_bytes and made.float_size_bytes else ""
    size = said.size(made.size_bytes)
    return (
        source, row.cell.target or "", said.status(row), accuracy, said.drop(row) or "", str(a.samples) if a else "",
        f"{size}{share}" if size else "", said.latency(row) or "", said.ratio(row) or "", said.marks(row),
    )  # fmt: skip


def reasons(rows: Iterable[Row]) -> list[str]:
    """What does not pass, each with its reason."""
    return [f"- {text(str(row.cell))}: {text(row.status)}. {text(row.reason)}" for row in rows if row.status != "PASS"]
