"""A comparison in words: columns for a terminal, Markdown for a pull request. Names of others are text in both."""

from __future__ import annotations

from edgekit.artifact import readme
from edgekit.bench.compare.values import Comparison, Finding
from edgekit.proof import metrics

#: Each verdict has a sign of its own, which needs no colour.
SIGN = {"BETTER": "+", "SAME": "=", "WORSE": "x WORSE", "UNDECIDED": "? UNDECIDED", "NOT_COMPARED": "- not compared"}


def figure(value: float | None, unit: str) -> str:
    """A figure with its unit."""
    if value is None:
        return ""
    if unit == "bytes":
        return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"
    if unit in ("cpu_ms", "wall_ms"):
        return f"{value:.4g} {unit.removesuffix('_ms')} ms"
    return f"{unit} {value:.4f}"


def change(finding: Finding) -> str:
    """How much, with its interval and what that rests on."""
    if finding.change is None:
        return ""
    if finding.what == "accuracy":
        shown, bounds = f"{-100 * finding.change:+.2f} {_points(finding)}", ""
        if finding.ci95:
            bounds = f" ({-100 * finding.ci95[1]:+.2f} to {-100 * finding.ci95[0]:+.2f}, n = {finding.n})"
        return shown + bounds
    bounds = f" ({finding.ci95[0]:.3f} to {finding.ci95[1]:.3f}, n = {finding.n})" if finding.ci95 else ""
    return f"x {finding.change:.3f}{bounds}"


def limit(finding: Finding) -> str:
    """What it was held to."""
    if finding.limit is None:
        return ""
    return f"-{100 * finding.limit:g} {_points(finding)}" if finding.what == "accuracy" else f"x {finding.limit:g}"


def _points(finding: Finding) -> str:
    """The unit of a drop times 100: of some metrics it is a share of what it was."""
    return "%" if metrics.metric(finding.unit).family == "relative" else "points"


def rows(comparison: Comparison) -> list[dict[str, str]]:
    """One row a finding, what became worse first; every row has the same keys."""
    rank = {name: index for index, name in enumerate(("WORSE", "UNDECIDED", "BETTER", "SAME", "NOT_COMPARED"))}
    found = sorted(comparison.found, key=lambda one: rank[one[1].verdict])
    return [
        {
            "cell": str(cell),
            "what": finding.what,
            "verdict": SIGN[finding.verdict],
            "old": figure(finding.old, finding.unit),
            "new": figure(finding.new, finding.unit),
            "change (95 % interval)": change(finding),
            "limit": limit(finding),
            "because": finding.reason,
        }
        for cell, finding in found
    ]


def headline(comparison: Comparison) -> str:
    """The outcome in one sentence."""
    counts: dict[str, int] = {}
    for _, finding in comparison.found:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    said = {"WORSE": "worse", "UNDECIDED": "undecided", "BETTER": "better", "SAME": "same"}
    shown = ", ".join(f"{counts[verdict]} {word}" for verdict, word in said.items() if verdict in counts)
    left = counts.get("NOT_COMPARED", 0)
    counted = ", ".join(filter(None, (shown, f"{left} not compared" if left else "")))
    return f"{comparison.status}: {counted or 'no rows'}" + (f". {comparison.reason}" if comparison.reason else "")


def markdown(comparison: Comparison) -> str:
    """For a pull request or a job's summary."""
    table = rows(comparison)
    lines = [f"**edgekit compare**: {readme.text(headline(comparison))}", ""]
    lines += [f"- {readme.text(note)}" for note in comparison.notes]
    if comparison.notes:
        lines.append("")
    if table:
        lines += ["| " + " | ".join(table[0]) + " |", "|" + "---|" * len(table[0])]
        lines += ["| " + " | ".join(readme.text(value) for value in row.values()) + " |" for row in table]
        lines.append("")
    lines.append(f"OLD is {readme.code(comparison.old)}, NEW is {readme.code(comparison.new)}.")
    return "\n".join(lines) + "\n"
