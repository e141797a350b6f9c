"""What all commands print with: stdout carries the result, stderr everything else."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from edgekit.cli import columns
from edgekit.errors import printable
from edgekit.jobs import interruption

#: Exit codes of statuses.
EXIT = {
    "PASS": 0,
    "UNSUPPORTED": 3,
    "FAIL_PARITY": 4,
    "FAIL_ACCURACY": 4,
    "FAIL_PRECISION": 4,
    "FAIL_INTEGRITY": 4,
    "UNDECIDED": 4,
    "FAILED": 6,
    "NOT_RUN": 9,
}

#: Of a file that passes and is not as fast, small or frugal as was asked.
DEMAND_NOT_MET = 5

AsJson = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]


def print_json(document: Any) -> None:
    """The one document of ``--json``."""
    interruption.finish()
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def print_line(*values: object) -> None:
    """One line on stdout of what may have been named by others."""
    interruption.finish()
    sys.stdout.write("  ".join(printable(str(value)) for value in values) + "\n")


def say(text: str) -> None:
    """A line on stderr."""
    sys.stderr.write(printable(text, lines=True) + "\n")


def print_rows(kind: str, rows: list[dict[str, Any]], as_json: bool) -> int:
    """A list, as columns or as JSON under its kind; returns the exit code."""
    if as_json:
        print_json({"status": "PASS", "reason": "", kind: rows})
        return 0
    sys.stdout.write(columns.columns(rows))
    return 0
