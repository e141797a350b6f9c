"""The table of metrics, from their own constants in ``edgekit/proof/metrics``.

python benchmarks/metrics_page.py prints it; ``pages.py`` writes it into ``docs/own-models.md``.
"""

from __future__ import annotations

from benchmarks.sources import PAGE
from edgekit.proof import metrics

START, END = "<!-- metrics -->", "<!-- /metrics -->"
#: What the limit on a drop is taken of, see ``edgekit/limits.py``.
_GATES = {"top1": "points", "map": "points", "relative": "per cent of the float value"}


def table() -> str:
    """One line per metric."""
    lines = ["| `--metric` | what it reads of the outputs | labels | a drop is in |", "|---|---|---|---|"]
    for found in map(metrics.metric, metrics.names()):
        gate = f"{_GATES[found.family]} (`[gate.{found.family}]`)"
        lines.append(f"| `{found.name}` | {found.about} | {found.labels} | {gate} |")
    return "\n".join(lines)


def write() -> None:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(START)
    PAGE.write_text(f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    print(table())
