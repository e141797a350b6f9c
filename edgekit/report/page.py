"""The report as one HTML file that loads nothing: styles, script and pictures are in it.

Names in rows are hostile until escaped: the template escapes everything, pictures are escaped by matplotlib, and the
page's own Content-Security-Policy lets no script run but the one whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgekit import __version__
from edgekit.bench.row import Row
from edgekit.conversion.sensitivity import Sensitivity
from edgekit.errors import MissingDependencyError, printable
from edgekit.report import charts, fronts, plots, said
from edgekit.report.fronts import Plot
from edgekit.report.gather import Gathered, Layers, in_order
from edgekit.result import Status

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure as Drawn

    Draw = Callable[[Drawn], str]

TEMPLATES = Path(__file__).parent / "templates"
#: Operators, or layers, of a table; the rest are counted.
MOST_LISTED = 60
#: Models whose plots are open when the page is; the others open by a key or a click.
OPEN = 4


class Box(NamedTuple):
    """One place of a matrix."""

    sign: str
    status: Status | None
    proof: str
    says: str
    flags: str
    anchor: str


class Grid(NamedTuple):
    """A matrix: targets by format, and a line for each model."""

    title: str
    groups: list[tuple[str, list[str]]]
    lines: list[tuple[str, list[Box]]]


class Figure(NamedTuple):
    """A picture, its name, and the lines of a table that says the same."""

    title: str
    svg: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]


class Cell(NamedTuple):
    """A value of a table and what it is sorted by."""

    text: str
    key: str | float


def html(found: Gathered) -> str:
    """The page."""
    charts.need_matplotlib()
    environment = _environment()
    script = (TEMPLATES / "report.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rows = found.newest()
    timed = found.timed()
    numbers = itertools.count(1)

    def draw(figure: Drawn) -> str:
        return charts.inline(figure, f"p{next(numbers)}")

    return environment.get_template("report.html").render(
        script=script,
        style=(TEMPLATES / "report.css").read_text("utf-8"),
        script_hash=digest,
        version=__version__,
        names=found.names,
        rows=rows,
        older=len(found.rows) - len(rows),
        dates=_dates(found.rows),
        statuses=_statuses(rows),
        shares=shares(rows),
        legend=said.STATUSES,
        proofs=said.PROOFS,
        grids=grids(rows),
        failing=[(anchor(i), row) for i, row in enumerate(rows) if row.status != "PASS"],
        sizes=[_pareto(plot, draw) for plot in fronts.by_size(rows)],
        speeds=[(name, [_pareto(plot, draw) for plot in fronts.by_latency(own)]) for name, own in timed.items()],
        latencies=[(name, list(_latencies(own, draw))) for name, own in timed.items()],
        operators=[
            _operators(row, draw) for own in timed.values() for row in own if row.measured and row.measured.operators
        ],
        layers=[_layers(one) for one in found.layers],
        costs=[_costs(one, draw) for one in found.costs],
        cells=[(anchor(i), row.status, _cells(row)) for i, row in enumerate(rows)],
        head=HEAD,
        codes=_codes(found.rows),
        said=said,
        open=OPEN,
    )


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError(
            "a page needs jinja2, which is not installed", hint="pip install 'edgekit[report]'"
        ) from error
    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip


def _shown(value: object) -> object:
    """A value of a template: what is not printable is shown as its escape, what is ours and markup stays."""
    return value if hasattr(value, "__html__") else printable(str(value), lines=True)


def anchor(index: int) -> str:
    """Where in the page a row's line is."""
    return f"row-{index + 1}"


def shares(rows: Iterable[Row]) -> list[tuple[str, int, int, int, str]]:
    """How many files of each format ended how: cells, passed in the runtime, by a stand-in, and all else in words."""
    own: dict[str, list[Row]] = {}
    for row in rows:
        own.setdefault(said.kind(row), []).append(row)
    found = []
    for kind in said.by_format(own):
        counts = Counter(r.proof.kind if r.status == "PASS" else r.status for r in own[kind])
        others = {status: n for status, n in counts.items() if status not in ("runtime", "stand-in")}
        rest = ", ".join(f"{n} {'PASS by nobody' if s == 'none' else s}" for s, n in sorted(others.items())) or "0"
        found.append((said.title(kind), len(own[kind]), counts["runtime"], counts["stand-in"], rest))
    return found


def _statuses(rows: Sequence[Row]) -> list[tuple[Status, int]]:
    counts = Counter(row.status for row in rows)
    return [(status, counts[status]) for status in said.STATUSES if counts[status]]


def _dates(rows: Sequence[Row]) -> str:
    days = in_order(rows, lambda row: row.at[:10] or None)
    return "" if not days else days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _codes(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Versions that made the rows, with how many rows each."""
    found = Counter((row.code.edgekit or "", row.code.commit or "", row.code.sha256 or "") for row in rows)
    return [
        (f"edgekit {v}" if v else "an earlier edgekit", c, f"{h[:12]} ({n} rows)" if h else f"({n} rows)")
        for (v, c, h), n in found.items()
    ]


def grids(rows: Sequence[Row]) -> list[Grid]:
    """A matrix for each framework and device."""
    index = {id(row): anchor(i) for i, row in enumerate(rows)}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.cell.target is not None:
            groups.setdefault((row.cell.framework or "of an unknown source", row.cell.device), []).append(row)
    devices = {device for _, device in groups}
    found = []
    for (framework, device), own in sorted(groups.items()):
        columns = charts.columns(own)
        cells = {(said.model(row), row.cell.target): row for row in own}
        targets = [name for _, names in columns for name in names]
        lines = [
            (model, [_box(cells.get((model, target)), index) for target in targets])
            for model in sorted({said.model(row) for row in own})
        ]
        title = f"from {framework}" + (f", on {device}" if len(devices) > 1 else "")
        found.append(Grid(title, [(said.title(kind), names) for kind, names in columns], lines))
    return found


def _box(row: Row | None, index: dict[int, str]) -> Box:
    if row is None:
        return Box("", None, "", "no row", "", "")
    sign = said.STATUSES[row.status][0]
    proof = said.PROOFS[row.proof.kind][0] if row.status == "PASS" or row.proof.kind != "none" else ""
    flags = said.marks(row)
    told = ", ".join(flag for flag in flags.split(", ") if flag != "REUSED")  # of the run, and no news of the file
    by = f"{row.proof.kind}: {row.proof.by}" if row.proof.by else row.proof.kind
    says = "; ".join(filter(None, (said.status(row), f"proof {by}", flags, row.reason[:200])))
    return Box(sign, row.status, proof, says, told, index[id(row)])


def _pareto(plot: Plot, draw: Draw) -> Figure:
    head = ("front", "file", plot.metric, "size" if plot.unit == "bytes" else "ms per inference")
    lines = [
        (
            str(point.number or ""),
            f"{said.name(point.row)}{_aside(point.row) if point.number is None else ''}",
            said.amount(plot.metric, point.value),
            (said.size(int(point.cost)) if plot.unit == "bytes" else said.milliseconds(point.cost)) or "",
        )
        for point in plot.points
    ]
    title = f"{plot.model}: {plot.metric} versus {'size' if plot.unit == 'bytes' else 'latency'}"
    title += f" ({plot.where})" if plot.where else ""
    return Figure(title, draw(charts.pareto(plot)), head, lines)


def _aside(row: Row) -> str:
    """Why a file may not be on a front, or nothing where it may."""
    if row.status != "PASS":
        return f": {row.status}"
    if row.proof.kind != "runtime":
        return f": {'stand-in' if row.proof.kind == 'stand-in' else 'executed by nobody'}"
    return ": NOISY" if said.noisy(row) else ""


def _latencies(rows: Sequence[Row], draw: Draw) -> Iterable[Figure]:
    """One picture for each model, and for what must not stand side by side."""
    head = ("file", "median [95 %]", "min", "p90", "CPU ms", "load ms", "first ms", "peak memory", "blocks", "remarks")
    for (model, conditions), own in fronts.alike(rows).items():
        title = f"{model} ({conditions})"
        yield Figure(title, draw(charts.latencies(own)), head, [_timed(row) for row in own])


def _timed(row: Row) -> tuple[str, ...]:
    assert row.measured is not None
    m = row.measured
    values = (m.wall.min_ms, m.wall.p90_ms, m.cpu.p50_ms, m.load_ms, m.first_ms)
    because = "; ".join(m.conditions.noisy_because)
    remarks = "; ".join(filter(None, (f"NOISY: {because}" if because else "", _inputs(row), f"in {m.precision}")))
    return (
        said.name(row), said.latency(row) or "", *(said.milliseconds(v) or said.NOT_MEASURED for v in values),
        said.size(m.peak_rss_bytes) or said.NOT_MEASURED, str(len(m.blocks.wall_ms)), remarks,
    )  # fmt: skip


def _inputs(row: Row) -> str:
    return "generated inputs" if row.measured and row.measured.inputs == "generated" else ""


def _operators(row: Row, draw: Draw) -> Figure:
    assert row.measured is not None
    operators = row.measured.operators
    whole = sum(one.ms for one in operators) or 1.0
    lines = [
        (one.name, one.kind, said.milliseconds(one.ms) or "", f"{one.ms / whole:.1%}".replace("%", " %"))
        for one in operators[:MOST_LISTED]
    ]
    if rest := operators[MOST_LISTED:]:
        lines.append((f"and {len(rest)} more", "", said.milliseconds(sum(one.ms for one in rest)) or "", ""))
    title = f"{row.cell.model}: {said.name(row)}, {row.measured.by}"
    return Figure(title, draw(charts.operators(row)), _OPERATORS, lines)


_OPERATORS = ("operator", "kind", "ms", "share")
_LAYERS = ("layer", "computes", "kind", "shape", "weights", "scales", "zeros", "MACs", "computes in integers")
_COSTS = ("layer", "kind", "MACs", "SQNR dB", "variation dB", "drop")


def _layers(one: Layers) -> Figure:
    lines: list[tuple[str, ...]] = [
        (
            _first(layer.name), layer.operator, layer.kind, "x".join(map(str, layer.shape)), layer.weight_type,
            layer.granularity or "", "" if layer.zeros is None else f"{layer.zeros:.1%}", f"{layer.macs:,}",
            "yes" if layer.in_integers else "no",
        )
        for layer in one.layers[:MOST_LISTED]
    ]  # fmt: skip
    if len(one.layers) > MOST_LISTED:
        lines.append((f"and {len(one.layers) - MOST_LISTED} more; `edgekit inspect --layers` lists all", *[""] * 8))
    return Figure(f"{one.of}{f', part {one.part}' if one.part else ''}", "", _LAYERS, lines)


def _first(name: str) -> str:
    """The first of the names of operators that a converter joined."""
    first, *more = name.split(";")
    return f"{first} (and {len(more)} joined)" if more else first


def _costs(one: Sensitivity, draw: Draw) -> Figure:
    lines = [
        (
            cost.called, cost.kind or "", f"{cost.macs:,}", f"{cost.sqnr_db:.1f}",
            said.NOT_MEASURED if cost.variation_db is None else f"{cost.variation_db:.1f}",
            said.NOT_MEASURED if cost.drop is None else f"{100 * cost.drop:+.2f}",
        )
        for cost in one.layers
    ]  # fmt: skip
    title = f"{one.target} by {one.route}: each layer quantized alone, n = {one.samples}"
    return Figure(title, draw(plots.sensitivity_figure(one, wide=charts.WIDE)), _COSTS, lines)


HEAD = (
    "model", "framework", "target", "status", "proof", "metric", "float", "file", "drop [95 %]", "n", "size",
    "of float size", "CPU ratio to float [95 %]", "latency [95 %]", "flags", "route",
)  # fmt: skip


def _cells(row: Row) -> list[Cell]:
    """A line of the table of everything."""
    a, made, t, m = row.accuracy, row.made, row.against_float, row.measured
    share = made.size_bytes / made.float_size_bytes if made.size_bytes and made.float_size_bytes else None
    return [
        _text(said.model(row)), _text(row.cell.framework), _text(row.cell.target), _text(row.status),
        _text(f"{row.proof.kind}: {row.proof.by}" if row.proof.by else row.proof.kind),
        _text(a.metric if a else None),
        _number(said.amount(a.metric, a.float_) if a else None, a.float_ if a else None),
        _number(said.accuracy(row), a.artifact if a else None),
        _number(said.drop(row), a.drop if a else None),
        _number(str(a.samples) if a else None, a.samples if a else None),
        _number(said.size(made.size_bytes), made.size_bytes),
        _number(None if share is None else f"{share:.0%}".replace("%", " %"), share),
        _number(said.ratio(row), t.ratio if t else None),
        _number(said.latency(row), m.wall.p50_ms if m else None),
        _text(said.marks(row)), _text(made.route),
    ]  # fmt: skip


def _text(value: str | None) -> Cell:
    return Cell(value or "", value or "")


def _number(text: str | None, key: float | None) -> Cell:
    """A figure; what was not measured is sorted behind all others."""
    return Cell("", "") if text is None or key is None else Cell(text, key)
