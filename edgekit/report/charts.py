"""Pictures of rows, drawn with matplotlib: the same input gives the same bytes, and names of others are text.

Everything that colours tell, shapes or words tell as well. In a page, what is drawn in ``INK`` takes the colour of the
text around it, so that one picture serves light and dark.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.bench.row import Row
from edgekit.errors import MissingDependencyError, UsageError
from edgekit.report import fronts, said
from edgekit.report.fronts import Plot, Point
from edgekit.result import Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What takes the colour of the text around it, and what is readable on white and on black.
INK, FAINT = "#1a1a1b", "#8a8a8b"
#: Of each format a colour (Okabe and Ito, 2008: told apart by all kinds of eyes) and a shape.
LOOKS = {
    "tflite": ("#0072b2", "o"), "onnx": ("#d55e00", "s"), "openvino": ("#009e73", "^"), "executorch": ("#cc79a7", "D"),
    "coreml": ("#e69f00", "P"), "tensorrt": ("#56b4e9", "X"),
}  # fmt: skip
OTHER = ("#777777", "v")
#: Of a status the colour of its cell, light enough for black signs.
COLOURS: dict[Status, str] = {
    "PASS": "#bfe5c9", "FAIL_PARITY": "#f3a6a0", "FAIL_ACCURACY": "#f3a6a0", "FAIL_PRECISION": "#f3a6a0",
    "FAIL_INTEGRITY": "#f3a6a0", "UNDECIDED": "#ffe08a", "FAILED": "#e0746c", "UNSUPPORTED": "#d4d4d8",
    "NOT_RUN": "#ececee",
}  # fmt: skip
#: Inches that a picture is wide: as wide as a phone, so that its words stay as large as the page's.
WIDE = 4.7
#: Boxes, or bars, that one picture shows.
MOST_SHOWN = 40


def need_matplotlib() -> None:
    """Say before any work what is missing.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "pictures need matplotlib, which is not installed", hint="pip install 'edgekit[report]'"
        ) from error


@contextlib.contextmanager
def style() -> Iterator[None]:
    """How pictures are drawn: names are no formulas, and text stays text."""
    import matplotlib as mpl

    settings: Any = {
        "svg.fonttype": "none", "text.parse_math": False, "axes.formatter.use_mathtext": False,
        "font.size": 11, "font.family": "sans-serif", "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK,
        "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False,
        "grid.color": FAINT, "grid.alpha": 0.35, "legend.frameon": False, "axes.axisbelow": True,
    }  # fmt: skip
    with mpl.rc_context(settings):
        yield


def inline(figure: Figure, prefix: str) -> str:
    """A picture as an ``<svg>`` that stands in a page: no outside reference, ids that begin with a prefix."""
    import matplotlib as mpl

    text = io.StringIO()
    facts = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with style(), mpl.rc_context({"svg.hashsalt": prefix}):
        figure.savefig(text, format="svg", transparent=True, metadata=facts)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = svg.replace(INK, "currentColor")
    # Its own width in points becomes the widest that it grows to:
    return re.sub(
        r'<svg width="([\d.]+)pt" height="[\d.]+pt"', r'<svg aria-hidden="true" style="max-width:\1pt"', svg, count=1
    )


def save(figure: Figure, file: Path) -> None:
    """Write a picture into a file, in the format of its ending.

    Raises:
        UsageError: it cannot be written.
    """
    import matplotlib as mpl

    facts = {"Date": None} if file.suffix == ".svg" else None
    try:
        with style(), mpl.rc_context({"svg.hashsalt": file.name, "svg.fonttype": "path"}):
            figure.savefig(file, dpi=160, metadata=facts, facecolor="white")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from error


def pareto(plot: Plot) -> Figure:
    """Accuracy versus cost: the front as a line with numbers, what may not be on it hollow."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(WIDE, 3.9), layout="constrained")
        axes = figure.subplots()
        seen: dict[str, Any] = {}
        for point in plot.points:
            kind = said.kind(point.row)
            colour, shape = LOOKS.get(kind, OTHER)
            on = point.number is not None
            whole = fronts.counts(point.row, plot.unit)
            drawn = axes.scatter(
                point.cost, point.value, s=42 if on else 24, marker=shape, zorder=3 if on else 2,
                facecolors=colour if whole else "none", edgecolors=INK if on else colour,
                linewidths=1.1 if on or not whole else 0.4, alpha=1 if on else 0.75,
            )  # fmt: skip
            seen.setdefault(kind, drawn)
        steps = [(p.cost, p.value) for p in plot.front]
        axes.step(*zip(*steps, strict=True), where="post", color=INK, linewidth=1) if steps else None
        if plot.float_value is not None:
            axes.axhline(plot.float_value, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                "float model", (1, plot.float_value), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                fontsize=10, color=FAINT, xytext=(0, 1), textcoords="offset points",
            )  # fmt: skip
        _cost_axis(axes, plot)
        if not plot.higher_is_better:
            axes.invert_yaxis()
        axes.set_ylabel(f"{said.shown(plot.metric)}, up is better")
        axes.grid(visible=True)
        axes.margins(0.08, 0.12)
        handles = [_handle(kind) for kind in said.by_format(seen)]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=10, handletextpad=0.2)
        _number(figure, axes, plot)
    return figure


#: Points of a front that lie nearer to each other, in points of print, share a place for their numbers.
NEAR = 13.0


def _number(figure: Figure, axes: Any, plot: Plot) -> None:
    """Numbers of the front's points."""
    figure.draw_without_rendering()  # only now it is known where points lie on paper
    scale = 72 / figure.dpi
    groups: list[list[Point]] = []
    before = (-NEAR, -NEAR)
    for point in plot.front:
        x, y = axes.transData.transform((point.cost, point.value)) * scale
        if groups and abs(x - before[0]) < NEAR and abs(y - before[1]) < NEAR:
            groups[-1].append(point)
        else:
            groups.append([point])
        before = (x, y)
    for group in groups:
        first, last = group[0].number, group[-1].number
        at = group[len(group) // 2]
        text = axes.annotate(
            f"{first}" if first == last else f"{first}-{last}", (at.cost, at.value), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=10, fontweight="bold", zorder=4,
        )  # fmt: skip
        text.set_in_layout(False)  # or the picture would be laid out anew, and points move


def _cost_axis(axes: Any, plot: Plot) -> None:
    costs = [point.cost for point in plot.points]
    axes.set_xlabel("size of the file, left is better" if plot.unit == "bytes" else "ms per inference, left is better")
    text = _short_size if plot.unit == "bytes" else "{:.4g}".format
    if min(costs) > 0 and max(costs) > 2 * min(costs):
        _log(axes, text)
    else:
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter(lambda value, _: text(value))


def _log(axes: Any, text: Callable[[float], str]) -> None:
    """Make the axis of costs logarithmic, with numbers that are read at a glance."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: text(value))


def _short_size(value: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g} B"


def _handle(kind: str) -> Any:
    from matplotlib.lines import Line2D

    colour, shape = LOOKS.get(kind, OTHER)
    return Line2D([], [], linestyle="none", marker=shape, color=colour, markersize=6, label=said.title(kind))


def latencies(rows: Sequence[Row]) -> Figure:
    """Distributions of wall time over blocks, of measured rows in their order; of a NOISY row hatched, and said."""
    from matplotlib.figure import Figure

    rows = rows[:MOST_SHOWN]
    with style():
        figure = Figure(figsize=(WIDE, 0.9 + 0.31 * len(rows)), layout="constrained")
        axes = figure.subplots()
        values = [row.measured.blocks.wall_ms or (row.measured.wall.p50_ms,) for row in rows if row.measured]
        boxes = axes.boxplot(
            values, orientation="horizontal", widths=0.6, patch_artist=True, whis=(10, 90), showfliers=False,
            medianprops={"color": INK, "linewidth": 1.6}, whiskerprops={"color": INK}, capprops={"color": INK},
        )  # fmt: skip
        for box, row in zip(boxes["boxes"], rows, strict=True):
            box.set(facecolor=LOOKS.get(said.kind(row), OTHER)[0], edgecolor=INK, linewidth=0.8)
            if said.noisy(row):
                box.set(facecolor="none", hatch="////")
        names = [f"{end_of(said.name(row), 32)}{' NOISY' if said.noisy(row) else ''}" for row in rows]
        axes.set_yticks(range(1, len(rows) + 1), names, fontsize=9)
        axes.invert_yaxis()
        medians = [row.measured.wall.p50_ms for row in rows if row.measured]
        if min(medians) > 0 and max(medians) > 8 * min(medians):
            _log(axes, lambda value: f"{value:.4g}")
        else:
            axes.set_xlim(left=0)
        axes.set_xlabel("ms per inference")
        axes.grid(visible=True, axis="x")
    return figure


def operators(row: Row) -> Figure:
    """Time of each operator, the longest first."""
    from matplotlib.figure import Figure

    assert row.measured is not None
    found = row.measured.operators[:MOST_SHOWN]
    with style():
        figure = Figure(figsize=(WIDE, 0.8 + 0.24 * len(found)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(found)), [one.ms for one in found], color=LOOKS.get(said.kind(row), OTHER)[0])
        names = [end_of(one.name, 32) for one in found]
        axes.set_yticks(range(len(found)), names, fontsize=9)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xlabel("ms per inference")
    return figure


def end_of(name: str, most: int) -> str:
    """A name as it may stand in a picture: of a long one the end, which tells targets and operators apart."""
    shown = said.shown(name)
    return shown if len(shown) <= most else f"…{shown[1 - most :]}"


def matrix(rows: Sequence[Row]) -> Figure:
    """The heat map: a line per model, a column per target, of one framework."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    cells = {(said.model(row), row.cell.target): row for row in rows if row.cell.target}
    models = list(dict.fromkeys(name for name, _ in cells))
    targets = [(kind, name) for kind, names in columns(rows) for name in names]
    with style():
        width, height = 0.36 * len(targets) + 2.4, 0.32 * len(models) + 3
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        for y, name in enumerate(models):
            for x, (_, target) in enumerate(targets):
                row = cells.get((name, target))
                if row is None:
                    continue
                axes.add_patch(Rectangle((x, y), 1, 1, facecolor=COLOURS[row.status], edgecolor="white"))
                sign = STATUS_LETTERS[row.status] + ({"stand-in": "*", "none": ""}.get(row.proof.kind, ""))
                axes.text(x + 0.5, y + 0.5, sign, ha="center", va="center", fontsize=10, color="black")
        axes.set(xlim=(0, len(targets)), ylim=(len(models), 0))
        axes.set_xticks([x + 0.5 for x in range(len(targets))], [end_of(name, 40) for _, name in targets], rotation=90)
        axes.set_yticks([y + 0.5 for y in range(len(models))], [end_of(name, 40) for name in models])
        axes.tick_params(length=0, labelsize=10)
        axes.spines[:].set_visible(False)
        used = [status for status in STATUS_LETTERS if any(row.status == status for row in rows)]
        says = ", ".join(f"{STATUS_LETTERS[status]} {status}" for status in used)
        figure.supxlabel(f"{says}; * executed by a stand-in", fontsize=10)
    return figure


#: Signs that every font has, for pictures whose fonts are the reader's.
STATUS_LETTERS: dict[Status, str] = {
    "PASS": "+", "FAIL_PARITY": "P", "FAIL_ACCURACY": "A", "FAIL_PRECISION": "B", "FAIL_INTEGRITY": "S",
    "UNDECIDED": "?", "FAILED": "!", "UNSUPPORTED": "0", "NOT_RUN": "-",
}  # fmt: skip


def columns(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """Formats, each with its targets, in the order of tables."""
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.cell.target is not None:
            found.setdefault(said.kind(row), set()).add(row.cell.target)
    return [(kind, sorted(found[kind])) for kind in said.by_format(found)]
