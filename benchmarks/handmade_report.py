"""Tables from the rows of ``handmade.py``: a summary per target and every cell, in ``HANDMADE.md``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CELLS = ROOT / "benchmarks" / "HANDMADE.md"
#: Bars of issue 2, section 7.
LATENCY, SIZE, OVERHEAD, SECONDS, MEMORY = 1.05, 1.01, 1.10, 1.0, 1.10

Row = dict[str, Any]
#: Target, model, framework.
Cell = tuple[str, str, str]


def newest(results: Path, kind: str) -> list[Row]:
    """The last row of each cell, in the order of target, model, framework."""
    rows = [json.loads(text) for text in results.read_text().splitlines()]
    # Rows of before 2026-11-21 have no kind: one call by hand with the vendor's defaults, of which the cost still holds.
    last = {_cell(r): r for r in rows if r.get("kind", "cost") == kind}
    return [last[key] for key in sorted(last)]


def late(row: Row) -> bool:
    """Whether a cell is above a bar of latency or size."""
    return slow(row) or (row["call"] is not None and row["size"] > SIZE)


def slow(row: Row) -> bool:
    """Whether a cell's interval does not lie below the bar."""
    return "latency_ci95" in row and row["latency_ci95"][1] >= LATENCY


def costly(row: Row) -> bool:
    """Whether a cell is above the bar of CPU (a ratio from 5 CPU seconds on, a difference below) or of memory."""
    extra = spent(row) - row["hand_cpu_s"]
    return (overhead(row) > OVERHEAD if row["hand_cpu_s"] >= 5 else extra > SECONDS) or row["memory"] > MEMORY


def spent(row: Row) -> float:
    """CPU seconds of load + convert, as the manifest has them: the load for the reference is part of it."""
    return float(row["edgekit_cpu_s"] + row.get("reference_load_cpu_s", 0.0))


def overhead(row: Row) -> float:
    """CPU of load + convert over that of the calls by hand."""
    return spent(row) / float(row["hand_cpu_s"])


def line(row: Row) -> str:
    """One cell on one line, for the log."""
    name = f"{row['model']} ({row['framework']}) {row['target']}"
    if row["call"] is None:
        return f"{name}: {row['status']}, no rival"
    return f"{name}: {_latency(row)}; size {row['size']:.3f}; against {row['call']}{' ABOVE' if late(row) else ''}"


def _latency(row: Row) -> str:
    if row["call"] is None:
        return "no rival"
    if "latency_ci95" not in row:
        return "identical bytes" if row["identical"] else "not timed"
    low, high = row["latency_ci95"]
    return f"{row['latency_ratio']:.3f}, {low:.3f} to {high:.3f}"


def _worst(values: Iterable[float], digits: int) -> str:
    found = list(values)
    return f"{max(found):.{digits}f}" if found else ""


def summary(latency: list[Row], cost: list[Row]) -> list[str]:
    """One line per target."""
    lines = [
        "| target | cells | identical bytes | no rival | latency, worst upper end | above 1.05 | size, worst | above 1.01 "
        "| CPU ratio, worst | memory ratio, worst | cells of both |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for target in sorted({row["target"] for row in latency}):
        rows = [row for row in latency if row["target"] == target]
        rivals = [row for row in rows if row["call"] is not None]
        costs = [row for row in cost if row["target"] == target]
        cells = (
            f"{target} | {len(rows)}",
            str(sum(row["identical"] for row in rivals)),
            str(len(rows) - len(rivals)),
            _worst((row["latency_ci95"][1] for row in rivals if "latency_ci95" in row), 3),
            str(sum(map(slow, rows))),
            _worst((row["size"] for row in rivals), 3),
            str(sum(row["size"] > SIZE for row in rivals)),
            _worst(map(overhead, costs), 2),
            _worst((row["memory"] for row in costs), 2),
            str(len(costs)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def overview(latency: list[Row], cost: list[Row], expected: list[Cell], start: dict[str, float], second: float) -> str:
    """The summary at the top of the page."""
    alone = {_cell(row) for row in latency if row["call"] is None}
    small = [cell for cell in expected if ":" not in cell[1] and cell not in alone]
    dates = sorted(row["date"] for row in latency)
    above = [row for row in latency if late(row)]
    dear = [row for row in cost if costly(row)]
    shown = [f"- {_name(row)}: latency {_latency(row)}; size {row['size']:.3f}; against {row['call']}" for row in above]
    shown += [
        f"- {_name(row)}: {spent(row):.1f} against {row['hand_cpu_s']:.1f} CPU s, memory {row['memory']:.2f}{_why(row)}"
        for row in dear
    ]
    large = [row for row in latency if ":" in row["model"]]
    without = [row for row in latency if row["call"] is None]
    days = [row["date"] for row in cost]
    commands = ", ".join(f"`{name}` {seconds:.2f} CPU s" for name, seconds in start.items())
    return "\n".join([
        "Each artifact against the best of the vendors' own calls written by hand ([byhand.py](byhand.py); "
        "several per cell, the fastest that runs, is what the target claims and holds its parity gate). Latency: CPU "
        "time of edgekit's file over the hand-made one, both in turns in one child, 95 % interval of the median of "
        f"three fresh children{_many(latency)}. {dates[0]} to {dates[-1]} UTC, {latency[0]['host']}. "
        f"{len(latency)} cells: {len(latency) - len(large)} of tiny configurations, "
        f"{len(large)} of the papers' sizes ({', '.join(sorted({row['model'] for row in large}))}). {len(without)} have "
        "no rival: no call by hand runs there, or none is what the target claims and holds its gate. Core ML and "
        "TensorRT files, which a stand-in runs here, are compared in size alone. CPU and memory are those of the route that "
        "was chosen and of the best call by hand of the same tool in the same environment (backend), each from nothing; what "
        "the float twin's conversion imported before in the same child is not counted again, as in the manifest: "
        f"{len(cost)} cells ({', '.join(sorted({row['model'] for row in cost}))}), {min(days)} to {max(days)}; medians of three where a row has `repeats`.",
        "",
        *summary(latency, cost),
        "",
        f"Bars: interval below {LATENCY}, size <= {SIZE}; CPU of load + convert <= {OVERHEAD:.2f} times the script's "
        f"(or + {SECONDS} s where that takes below 5 s), peak memory <= {MEMORY:.2f} times. "
        + (f"{len(shown)} cells above a bar:" if shown else "No cell is above a bar."),
        "",
        *shown,
        *([""] if shown else []),
        f"**Not measured**: latency and size of {_missing(expected, latency)}; costs, where there is a rival, of "
        f"{_missing(small, cost)}.",
        "",
        f"{commands} (median of 9); a second identical convert {second:.1f} s wall (median of 5). Reference "
        "configurations carry random weights, so that the gate is not applied to them. Repeat with `make bench`.",
    ])  # fmt: skip


def _why(row: Row) -> str:
    """What a reader of a costly cell should know."""
    load = row.get("reference_load_cpu_s", 0.0)
    facts = [f"{load:.1f} s of it load Keras on TensorFlow for the reference"] if load else []
    facts += [] if row.get("same_calls", True) else ["another tool's call, because the same one fails by hand"]
    return f" ({'; '.join(facts)})" if facts else ""


def _missing(expected: list[Cell], rows: list[Row]) -> str:
    """How many cells of which models have no row."""
    there = set(map(_cell, rows))
    left = Counter(
        f"{model} ({framework})" for target, model, framework in expected if (target, model, framework) not in there
    )
    listed = f" ({', '.join(f'{model}: {count}' for model, count in left.items())})" if left else ""
    return f"{left.total()} of {len(expected)} cells{listed}"


def _cell(row: Row) -> Cell:
    return row["target"], row["model"], row["framework"]


def _many(latency: list[Row]) -> str:
    """Which models were timed in more children, so that the interval is that of their ratios."""
    found: dict[str, set[int]] = {}
    for row in latency:
        if len(row.get("repeats", ())) > 3:
            found.setdefault(row["model"], set()).add(len(row["repeats"]))
    said = ", ".join(
        f"{model}: of the ratios of {' to '.join(map(str, sorted({min(n), max(n)})))}"
        for model, n in sorted(found.items())
    )
    return f" ({said})" if said else ""


def _name(row: Row) -> str:
    return f"{row['model']} ({row['framework']}) to {row['target']}"


def cells(latency: list[Row], cost: list[Row], above: str) -> str:
    """The page: the summary, every cell, and which calls by hand were no rival and why."""
    lines = [
        "# Every cell against the vendors' calls by hand",
        "",
        "Written by `python benchmarks/handmade.py report` from the newest rows of "
        "[handmade.jsonl](results/handmade.jsonl).",
        "",
        above,
        "",
        "## Every cell",
        "",
        "| target | model | route | latency ratio, 95 % interval | by hand, CPU ms | size ratio | best call by hand | "
        "SQNR dB, edgekit | by hand | date |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in latency:
        milliseconds = f"{row['hand_cpu_ms']:.4f}" if "hand_cpu_ms" in row else ""
        size, other = (f"{row['size']:.3f}", row["hand_sqnr_db"]) if row["call"] else ("", "")
        values = (_latency(row), milliseconds, size, row["call"] or "", row["sqnr_db"], other, row["date"])
        model = f"{row['model']} ({row['framework']})"
        lines.append(f"| {row['target']} | {model} | {row['route']} | {' | '.join(map(str, values))} |")
    lines += ["", "## CPU and peak memory, each from nothing", ""]
    lines += [
        "| target | model | route | routes tried | edgekit load + convert, CPU s | by hand, CPU s | ratio | peak memory ratio | call by hand | date |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['target']} | {r['model']} ({r['framework']}) | {r['route']} | {r.get('routes_tried', '')} | {spent(r):.1f} | "
        f"{r['hand_cpu_s']:.1f} | {overhead(r):.2f} | {r['memory']:.2f} | {r.get('call', 'defaults')} | {r['date']} |"
        for r in cost
    ]
    lines += ["", "## Calls by hand that are no rival", "", "| target | model | call | why |", "|---|---|---|---|"]
    for row in latency:
        for call, why in row["by_hand"].items():
            text = " ".join(why.replace("|", "/").split())
            lines.append(f"| {row['target']} | {row['model']} ({row['framework']}) | {call} | {text} |")
    return "\n".join(lines) + "\n"


def write(results: Path, expected: list[Cell], start: dict[str, float], second: float) -> None:
    """Rewrite ``HANDMADE.md``; ``expected`` are all cells that there are to measure."""
    latency, cost = newest(results, "latency"), newest(results, "cost")
    CELLS.write_text(cells(latency, cost, overview(latency, cost, expected, start, second)))
