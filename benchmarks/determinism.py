"""The same convert twice, from empty stores in fresh children: identical bytes for every target, or which file differs.

python benchmarks/determinism.py [MODEL[@FRAMEWORK] [TARGET ...]]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import edgekit
from edgekit import target
from edgekit.artifact import folder as artifact
from edgekit.errors import EdgekitError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers


def hashes(source: str, name: str, scratch: Path, turn: int) -> dict[str, str]:
    """Hashes of the model's own files, made anew."""
    with Workers() as workers:
        result = edgekit.convert(
            source, name, output=scratch / f"a{turn}", workers=workers, store=Store(scratch / f"s{turn}")
        )
    return {f.path: f.sha256 for f in result.files if f.path not in (artifact.GOLDEN, "README.md")}


def main() -> int:
    """Print one line per source and target; exit 1 where bytes differ."""
    model, _, one = (sys.argv[1] if len(sys.argv) > 1 else "mlp").partition("@")
    names = sys.argv[2:] or target.names()
    different = 0
    for framework in (one,) if one else ("keras", "torch"):
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    first, second = (hashes(f"{model}@{framework}", name, Path(folder), turn) for turn in (1, 2))
                except EdgekitError as error:
                    print(f"{model}@{framework} {name}: {error.code}: {error}")
                    continue
            changed = sorted(path for path in first.keys() | second.keys() if first.get(path) != second.get(path))
            different += bool(changed)
            print(f"{model}@{framework:6} {name:26} {'identical' if not changed else 'differs: ' + ', '.join(changed)}")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
