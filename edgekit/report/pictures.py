"""Every picture of a report as files, PNG and SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.report import charts, fronts, plots, said
from edgekit.report.gather import Gathered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Characters of a title that are as wide as a picture.
WIDTH = 56


def write(found: Gathered, folder: Path) -> list[Path]:
    """Draw all that there is to draw into a folder.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror or error}", hint="Name another folder.") from error
    written: dict[str, list[Path]] = {}
    for title, figure in figures(found):
        with charts.style():
            figure.suptitle(textwrap.fill(said.shown(title), WIDTH, max_lines=3, placeholder="…"), fontsize=10)
        name = said.file_name(title, written)
        written[name] = [folder / f"{name}{ending}" for ending in (".png", ".svg")]
        for file in written[name]:
            charts.save(figure, file)
    return [file for files in written.values() for file in files]


def figures(found: Gathered) -> Iterator[tuple[str, Figure]]:
    """Titles and pictures: matrices, fronts, latencies, operators, layers."""
    rows = found.newest()
    for framework in sorted({row.cell.framework or "" for row in rows if row.cell.target}):
        own = [row for row in rows if row.cell.target and (row.cell.framework or "") == framework]
        yield f"matrix, from {framework or 'unknown sources'}", charts.matrix(own)
    for plot in fronts.by_size(rows):
        yield f"{plot.model}: {plot.metric} versus size", charts.pareto(plot)
    for machine, timed in found.timed().items():
        for plot in fronts.by_latency(timed):
            yield f"{plot.model}: {plot.metric} versus latency, {plot.where}, {machine}", charts.pareto(plot)
        for (model, conditions), own in fronts.alike(timed).items():
            yield f"{model}: latency, {conditions}, {machine}", charts.latencies(own)
        for row in timed:
            if row.measured and row.measured.operators:
                yield f"{row.cell.model}: operators of {said.name(row)}, {machine}", charts.operators(row)
    for costs in found.costs:
        yield f"layers of {costs.target} by {costs.route}", plots.sensitivity_figure(costs, wide=charts.WIDE)
