"""CI in tiers, each with its time: ``python -m tests.tiers [--nightly] [TIER ...]``.

Every tier runs, whatever became of the one before it; the table at the end says how each ended and what it took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cells
from edgekit.bench.converting import missing
from edgekit.bench.row import Cell
from edgekit.jobs.store import Store

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
#: One more than there are cores: some tests wait, for a limit of time or for a child that starts.
PROCESSES = min(os.cpu_count() or 1, 4) + 1
PYTEST = [sys.executable, "-m", "pytest", "--durations=25", "--durations-min=5", "-n", str(PROCESSES)]
#: What a file converts once is not converted by several processes.
BY_FILE = [*PYTEST[:3], "--dist", "loadfile", *PYTEST[3:]]
#: Cells of which the store has older results are made again, as many as fit; `make nightly` does them all.
MOST_CHANGED = 40

CONTRACTS = ROOT / "tests" / "contract"
#: Without a conversion: what every architecture, layer and task is held to.
ARCHITECTURES = (
    "test_zoo",
    "test_published",
    "test_zoo_text",
    "test_zoo_style",
    "test_reference_layers",
    "test_train",
    "test_frameworks",
)


def files(names: tuple[str, ...]) -> list[str]:
    """Test files of contracts."""
    return [str(CONTRACTS / f"{name}.py") for name in names]


def static() -> list[list[str]]:
    """What needs nothing run."""
    return [[f"{BIN}/ruff", "check", "."], [f"{BIN}/ruff", "format", "--check", "."], [f"{BIN}/mypy", "-n", "auto"]]


def units() -> list[list[str]]:
    """Tests without a framework."""
    return [[*PYTEST, "tests/unit"]]


def architectures() -> list[list[str]]:
    """Every architecture, without a conversion: a part of the contracts, to be run by itself."""
    return [[*BY_FILE, *files(ARCHITECTURES)]]


def contracts() -> list[list[str]]:
    """Every architecture, every route and runtime on small graphs, every kind of source, bad input, the wheel."""
    return [[*BY_FILE, str(CONTRACTS), "tests/matrix/test_sources.py", "tests/packaging"]]


def covering() -> list[list[str]]:
    """Cells that cover the matrix, without latency."""
    return [[*PYTEST, "tests/matrix/test_matrix.py"]]


def changed() -> list[list[str]]:
    """Cells beyond those that this store has results of under other keys."""
    if not os.environ.get("EDGEKIT_HOME"):
        print("EDGEKIT_HOME is not set: no store is kept from run to run, and there is nothing to compare with")
        return []
    from tests.matrix.test_matrix import CHOSEN  # reads all rows

    store, covered = Store(), set(CHOSEN)
    before = [cell for cell in cells.marked(store) if cell not in covered]
    with tempfile.TemporaryDirectory() as scratch:
        stale = [cell for cell in before if missing(cell, store, Path(scratch) / "out", latency=False)]
    print(f"{len(before)} cells beyond the covering ones were made with {store.root}; {len(stale)} have other keys now")
    for cell in stale[:MOST_CHANGED]:
        print("  made again:", cell)
    if left := stale[MOST_CHANGED:]:
        print(f"  left for `make nightly`: {len(left)}")
    return only(stale[:MOST_CHANGED])


def whole() -> list[list[str]]:
    """The whole matrix, strictly."""
    return only(cells.every())


def only(chosen: list[Cell]) -> list[list[str]]:
    """A run of these cells."""
    if not chosen:
        return []
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as stream:
        json.dump([cell.model_dump() for cell in chosen], stream)
    return [["env", f"EDGEKIT_CELLS={stream.name}", *PYTEST, "tests/matrix/test_matrix.py"]]


def sizes() -> list[list[str]]:
    """Configurations of the papers' sizes, one after the other: each takes gigabytes."""
    return [[sys.executable, "-m", "pytest", "tests/nightly"]]


Tier = Callable[[], list[list[str]]]
TIERS: tuple[Tier, ...] = (static, units, contracts, covering, changed)
NIGHTLY: tuple[Tier, ...] = (static, units, contracts, whole, sizes)


@dataclass(frozen=True)
class Ended:
    """How a tier ended: its wall seconds, and the CPU seconds of all its processes."""

    how: str
    seconds: float
    cpu: float

    @property
    def times(self) -> tuple[float, float]:
        """Wall and CPU seconds."""
        return self.seconds, self.cpu

    def __str__(self) -> str:
        return f"{self.seconds:6.0f} s, {self.cpu:6.0f} CPU s"


def spent() -> float:
    """CPU seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(tier: Tier, *, nightly: bool) -> Ended:
    """Run one tier, with the tests that are marked nightly or without them."""
    print(f"\n=== {tier.__name__}: {(tier.__doc__ or '').splitlines()[0]}", flush=True)
    start, before = time.monotonic(), spent()
    fewer = [] if nightly else ["-m", "not nightly"]
    commands = [[*command, *(fewer if "pytest" in command else ())] for command in tier()]
    # Hundreds of children import the package: what one of them compiled, the others read, whatever the machine prefers.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    codes = [subprocess.run(command, cwd=ROOT, env=variables).returncode for command in commands]
    how = "FAILED" if any(codes) else "passed" if codes else "nothing to do"
    ended = Ended(how, time.monotonic() - start, spent() - before)
    print(f"=== {tier.__name__}: {how} in {ended}", flush=True)
    return ended


def main() -> int:
    """Run the tiers that were named, or all of them."""
    known = {tier.__name__: tier for tier in (*TIERS, *NIGHTLY, architectures)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiers", nargs="*", metavar="TIER", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--nightly", action="store_true", help="with the whole matrix and the papers' sizes")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.tiers if name not in known]:
        parser.error(f"no tier {unknown[0]!r}; there are {', '.join(known)}")
    chosen = [known[name] for name in arguments.tiers] or list(NIGHTLY if arguments.nightly else TIERS)
    ended = {tier.__name__: run(tier, nightly=arguments.nightly) for tier in chosen}
    failed = any(one.how == "FAILED" for one in ended.values())
    seconds, cpu = (sum(each) for each in zip(*(one.times for one in ended.values()), strict=True))
    whole_run = Ended("FAILED" if failed else "passed", seconds, cpu)
    print()
    for name, one in [*ended.items(), ("all", whole_run)]:
        print(f"{name:14} {one}  {one.how}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
