"""Every picture of a report as files, PNG and SVG."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.report import charts, fronts, plots, said
from edgekit.report.gather import Gathered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write(found: Gathered, folder: Path) -> list[Path]:
    """Draw all that there is to draw into a folder.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror or error}", hint="Name another folder.") from error
    written: dict[Path, None] = {}
    for title, figure in figures(found):
        name = re.sub(r"[^A-Za-z0-9.+-]+", "_", title).strip("_").lstrip(".")
        for ending in (".png", ".svg"):
            charts.save(figure, folder / f"{name}{ending}")
            written[folder / f"{name}{ending}"] = None
    return list(written)


def figures(found: Gathered) -> Iterator[tuple[str, Figure]]:
    """Titles and pictures: matrices, fronts, latencies, operators, layers."""
    rows = found.newest()
    for framework in sorted({row.cell.framework or "" for row in rows if row.cell.target}):
        own = [row for row in rows if row.cell.target and (row.cell.framework or "") == framework]
        yield f"matrix-{framework}", charts.matrix(own)
    for plot in fronts.by_size(rows):
        yield f"size-{plot.model}-{plot.metric}", charts.pareto(plot)
    for number, timed in enumerate(found.timed().values(), 1):
        machine = f"machine{number}"
        for plot in fronts.by_latency(timed):
            yield f"latency-front-{plot.model}-{plot.metric}-{machine}-{plot.where}", charts.pareto(plot)
        for (model, conditions), own in fronts.alike(timed).items():
            yield f"latency-{model}-{machine}-{conditions}", charts.latencies(own)
        for row in timed:
            if row.measured and row.measured.operators:
                yield f"operators-{row.cell.model}-{said.name(row)}-{machine}", charts.operators(row)
    for costs in found.costs:
        with charts.style():
            yield f"layers-{costs.target}-{costs.route}", plots.sensitivity_figure(costs)
