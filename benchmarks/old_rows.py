"""Once: rows of ``results/matrix.jsonl`` from before schema 1 become rows of it, and their ids in texts the new ones.

    python -m benchmarks.old_rows

Every figure stays, what was not recorded is null. May be run again over a file in which both kinds stand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import rows
from edgekit.bench.row import Row
from edgekit.proof import metrics

ROOT = Path(__file__).parent.parent
RESULTS = rows.RESULTS / "matrix.jsonl"
#: Where rows are cited by their ids.
TEXTS = [ROOT / "targets" / "REASONS.md", *(ROOT / "docs").glob("*.md"), ROOT / "CHANGELOG.md", ROOT / "README.md"]


def converted(old: dict[str, Any]) -> Row:
    """The same row in schema 1."""
    accuracy = parity = against = None
    if "drop" in old:
        accuracy = {
            "higher_is_better": metrics.metric(old["metric"]).higher_is_better,
            "checkpoint": None,
            **{key: old[key] for key in ("metric", "samples", "float", "artifact", "drop", "drop_ci95", "agreement")},
        }
    if "sqnr_db" in old:
        parity = {key: old.get(key) for key in ("sqnr_db", "variation_db", "channel_db")}
    if "latency_ratio" in old:
        against = {"ratio": old["latency_ratio"], "ratio_ci95": old["latency_ci95"], "verdict": old["verdict"]}
    return Row.model_validate(
        {
            "cell": {key: old[key] for key in ("model", "framework", "target")},
            "status": old["status"],
            "flags": old["flags"],
            "reason": old["reason"],
            "proof": {"kind": old["proof"], "by": old["by"]},
            "made": {key: old[key] for key in ("route", "size_bytes", "float_size_bytes", "cpu_seconds")},
            "parity": parity,
            "accuracy": accuracy,
            "against_float": against,
            "code": {"edgekit": None, "commit": old["commit"], "sha256": old.get("code"), "harness": 0},
            "processor": old["host"],
            "at": old["date"].replace(" ", "T") + ":00Z",
        }
    )


def main() -> None:
    found: list[tuple[str, str, str]] = []  # date, id as it was, new line
    for line in RESULTS.read_text().splitlines():
        row = json.loads(line)
        new = row if "schema" in row else converted(row).to_json()
        found.append((new["at"], rows.identity(line), json.dumps(new, sort_keys=True, allow_nan=False)))
    found.sort(key=lambda one: one[0])  # the last row of a cell is its newest
    RESULTS.write_text("".join(f"{line}\n" for _, _, line in found))
    ids = {before: rows.identity(line) for _, before, line in found}
    for text in TEXTS:
        before = text.read_text()
        after = re.sub(r"(?<=matrix\.jsonl#)[0-9a-f]{8}", lambda match: ids.get(match[0], match[0]), before)
        if after != before:
            text.write_text(after)


if __name__ == "__main__":
    main()
