"""Attacks on edgekit, to be repeated: mutants of files, hostile files, kills, known faults of converters.

    python benchmarks/campaign.py attacks [--name NAME]
    python benchmarks/campaign.py reports [--name NAME]
    python benchmarks/campaign.py kills [--count 60] [--seed 1]
    python benchmarks/campaign.py mutants [--kind keras] [--count 300] [--commands 10] [--seed 1] [--only NUMBER]

Appends its rows to ``benchmarks/results/campaign.jsonl``: one per fault, one per kind with the counts. What was found,
and what was mended, stands in ``docs/campaign.md``.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import rows
from campaign import kills, known, loading, mutants
from campaign.attacks import trying

RESULTS = rows.RESULTS / "campaign.jsonl"
ORIGINALS = Path(tempfile.gettempdir()) / "edgekit-campaign-originals"


def _rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    loading.make_originals(ORIGINALS)
    if arguments.part == "attacks":
        with tempfile.TemporaryDirectory(prefix="campaign-") as scratch:
            yield from trying.rows(ORIGINALS, Path(scratch), arguments.name or [])
        return
    if arguments.part == "kills":
        yield from kills.rows(arguments.count, arguments.seed)
        return
    if arguments.part == "reports":
        yield from known.rows(arguments.name or [])
        return
    kinds = arguments.kind or list(mutants.KINDS)
    yield from mutants.rows(ORIGINALS, kinds, arguments.count, arguments.seed, arguments.commands, arguments.only)


def _placeless(value: Any) -> Any:
    """A sentence without the folders of this run."""
    scratch = re.escape(tempfile.gettempdir()) + r"/campaign-\w+/((files|outside|\d+)/)?"
    return re.sub(scratch, "", value) if isinstance(value, str) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["mutants", "attacks", "reports", "kills"])
    parser.add_argument("--kind", action="append", choices=list(mutants.KINDS))
    parser.add_argument("--name", action="append", help="of attacks and reports: these alone")
    parser.add_argument("--count", type=int, help="mutants of each kind (300), or kills (60)")
    parser.add_argument("--commands", type=int, default=10, help="how many of them by the command line, too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="one of them again, by its number; writes no row")
    parser.add_argument("--dry", action="store_true", help="write no rows")
    arguments = parser.parse_args()
    arguments.count = arguments.count or (60 if arguments.part == "kills" else 300)
    stamp = rows.stamp()
    for row in _rows(arguments):
        row = {key: _placeless(value) for key, value in row.items()}
        print(json.dumps(row), flush=True)
        if not arguments.dry and arguments.only is None:
            with RESULTS.open("a") as stream:
                stream.write(json.dumps(row | stamp | {"seed": arguments.seed}, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
