"""What decides about the order of routes: all of a target's, on one model, measured against each other.

    python -m benchmarks.routes onnxruntime-int8 gpt@torch lstm_classifier@keras [--allow-mixed]

Appends one row per route to ``benchmarks/results/routes.jsonl``; ``targets/REASONS.md`` cites them (see ``rows.py``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import edgekit
from benchmarks import rows
from edgekit.jobs.workers import Workers

RESULTS = rows.RESULTS / "routes.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("sources", nargs="+", help="MODEL@FRAMEWORK")
    parser.add_argument("--allow-mixed", action="store_true")
    arguments = parser.parse_args()
    for source in arguments.sources:
        model, framework = source.split("@")
        with tempfile.TemporaryDirectory() as scratch, Workers() as workers:
            result = edgekit.convert(
                source, arguments.target, output=Path(scratch) / "out", workers=workers, search_routes=True,
                allow_mixed=arguments.allow_mixed,
            )  # fmt: skip
        cell = {"model": model, "framework": framework, "target": arguments.target, "traits": result.traits}
        cell |= rows.stamp()
        cell |= {"chosen": result.route, "float_size_bytes": result.float_size_bytes}
        with RESULTS.open("a") as stream:
            for tried in result.routes_tried:
                row = cell | tried.model_dump(mode="json")
                stream.write(json.dumps(row, sort_keys=True) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
