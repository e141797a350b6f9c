"""Rows of ``benchmarks/results``, each with an id that stays: FILE#ID, the first eight digits of its line's SHA-256.

python benchmarks/rows.py matrix.jsonl#1f0c9a3b              prints a row
python benchmarks/rows.py target=onnxruntime-int8 model=gpt  prints the id of each row that has these values
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def identified() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row with its id."""
    for file in sorted(RESULTS.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            yield f"{file.name}#{hashlib.sha256(line.encode()).hexdigest()[:8]}", json.loads(line)


def main(arguments: list[str]) -> None:
    wanted = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    for identity, row in identified():
        if identity in arguments or (wanted and all(str(row.get(key)) == value for key, value in wanted.items())):
            print(identity, json.dumps(row, sort_keys=True))


if __name__ == "__main__":
    main(sys.argv[1:])
