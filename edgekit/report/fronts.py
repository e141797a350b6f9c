"""Pareto fronts: of files that do one task, those than which no other is both cheaper and better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgekit.bench.row import Row
from edgekit.report import said


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other point dominates, by rising cost.

    Args:
        points: (cost, value): a lower cost and a higher value are better. Equal points are both on the front.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    found: list[int] = []
    best: tuple[float, float] | None = None
    for index in order:
        cost, value = points[index]
        if best is None or value > best[1] or (cost, value) == best:
            found.append(index)
            best = (cost, value)
    return found


@dataclass(frozen=True)
class Point:
    """A file in a plot of accuracy versus cost.

    Attributes:
        row: its row.
        cost: bytes, or milliseconds.
        value: of the metric.
        number: on the front, counted from the cheapest; None beside it.
    """

    row: Row
    cost: float
    value: float
    number: int | None


@dataclass(frozen=True)
class Plot:
    """One model's files, by one metric, at one kind of cost.

    Attributes:
        model: whose files.
        metric: what accuracy is.
        higher_is_better: False for perplexity and errors.
        unit: of the cost.
        where: the machine, and how it was driven, of a latency; empty for a size.
        points: the front's first.
        float_value: the float model's own metric, where all points agree on it.
    """

    model: str
    metric: str
    higher_is_better: bool
    unit: str
    where: str
    points: tuple[Point, ...]
    float_value: float | None

    @property
    def front(self) -> tuple[Point, ...]:
        """The points that nothing else is better than, by rising cost."""
        return tuple(point for point in self.points if point.number is not None)


def counts(row: Row, unit: str) -> bool:
    """Whether a row may be on a front: proven by its own runtime, passed, and of times measured on a quiet machine."""
    quiet = unit != "ms" or not said.noisy(row)
    return row.status == "PASS" and row.proof.kind == "runtime" and quiet


def by_size(rows: Iterable[Row]) -> list[Plot]:
    """Accuracy versus size of each model's files."""
    return _plots(rows, "bytes", lambda row: "", lambda row: row.made.size_bytes)


def by_latency(rows: Iterable[Row]) -> list[Plot]:
    """Accuracy versus median wall time, for each machine and way of measuring apart."""
    return _plots(rows, "ms", conditions, lambda row: row.measured.wall.p50_ms if row.measured else None)


def conditions(row: Row) -> str:
    """What times must share to stand in one plot, beside the machine, which the caller keeps apart."""
    if (m := row.measured) is None:
        return ""
    return f"{m.unit}, {m.threads} thread{'s' if m.threads != 1 else ''}, by {m.engine}"


def alike(rows: Iterable[Row]) -> dict[tuple[str, str], list[Row]]:
    """Measured rows that may stand in one picture of latencies: by model and conditions, the fastest first."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted((r for r in rows if r.measured), key=lambda r: r.measured.wall.p50_ms if r.measured else 0):
        found.setdefault((row.cell.model, conditions(row)), []).append(row)
    return dict(sorted(found.items()))


def _plots(
    rows: Iterable[Row], unit: str, where: Callable[[Row], str], cost: Callable[[Row], float | None]
) -> list[Plot]:
    groups: dict[tuple[str, str, bool, str], list[tuple[Row, float, float]]] = {}
    for row in rows:
        a, spent = row.accuracy, cost(row)
        if a is not None and spent is not None:
            key = (row.cell.model, a.metric, a.higher_is_better, where(row))
            groups.setdefault(key, []).append((row, float(spent), a.artifact))
    return [_plot(*key, unit, own) for key, own in sorted(groups.items(), key=lambda item: item[0])]


def _plot(model: str, metric: str, higher: bool, where: str, unit: str, own: list[tuple[Row, float, float]]) -> Plot:
    allowed = [i for i, (row, _, _) in enumerate(own) if counts(row, unit)]
    chosen = front([(own[i][1], own[i][2] if higher else -own[i][2]) for i in allowed])
    number = {allowed[index]: place for place, index in enumerate(chosen, 1)}
    points = [Point(row, spent, value, number.get(i)) for i, (row, spent, value) in enumerate(own)]
    points.sort(key=lambda point: (point.number is None, point.number or 0, point.cost))
    floats = {row.accuracy.float_ for row, _, _ in own if row.accuracy}
    return Plot(model, metric, higher, unit, where, tuple(points), floats.pop() if len(floats) == 1 else None)
