"""Rows of ``benchmarks/results``, each with an id that stays: FILE#ID, the first eight digits of its line's SHA-256.

python -m benchmarks.rows matrix.jsonl#1f0c9a3b              prints a row
python -m benchmarks.rows target=onnxruntime-int8 model=gpt  prints the id of each row that has these values
"""

from __future__ import annotations

import datetime
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit.bench.stamp import code
from edgekit.jobs.host import host

RESULTS = Path(__file__).parent / "results"


def identity(line: str) -> str:
    """What tells a row from the others of its file."""
    return hashlib.sha256(line.encode()).hexdigest()[:8]


def identified() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row with its id; in those of suites the fields of the cell and the file stand beside the others."""
    for file in sorted(RESULTS.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            yield f"{file.name}#{identity(line)}", {**(row.get("cell") or {}), **(row.get("made") or {}), **row}


def stamp() -> dict[str, str | None]:
    """What rows of these scripts say: the code that is measured (``code`` is exact, ``commit`` is for people), where, when."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    return {"commit": code().commit, "code": code().sha256, "host": host().processor, "date": date}


def main(arguments: list[str]) -> None:
    wanted = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for name, row in identified():
        if name in arguments or (wanted and all(str(row.get(key)) == value for key, value in wanted.items())):
            print(name, json.dumps(row, sort_keys=True))


if __name__ == "__main__":
    main(sys.argv[1:])
