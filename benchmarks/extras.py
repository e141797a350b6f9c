"""What each extra brings: bytes on disk, distributions, whether torch is there.

    python -m benchmarks.extras                       # from the records of what is installed here, in seconds
    python -m benchmarks.extras --fresh core onnx     # installed in an environment of its own, in minutes

Appends rows to ``benchmarks/results/extras.jsonl`` and writes the README's table from the newest of each. An installation
begins with torch, by its exact version, as in the Makefile, so that a CPU build that pip knows is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "benchmarks" / "results" / "extras.jsonl"
README = ROOT / "README.md"
MEASURED = (
    "core", "onnx", "litert", "keras", "litert,keras", "openvino", "torch", "litert-torch", "executorch", "coreml",
    "data", "report", "all",
)  # fmt: skip
START, END = "<!-- extras: written by benchmarks/extras.py -->", "<!-- /extras -->"
_MIB = 2**20
_LISTED = "import importlib.metadata as m, json; print(json.dumps(sorted(d.name.lower() for d in m.distributions())))"


def measure(wheel: Path, extra: str) -> dict[str, Any]:
    """Install the wheel with one extra, or several, and look at what came."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        site = next(Path(folder).glob("lib/python*/site-packages"))
        before = _bytes(site)
        environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", **os.environ}
        started = time.monotonic()
        wanted = f"edgekit[{extra}] @ file://{wheel}" if extra != "core" else f"edgekit @ file://{wheel}"
        constraints = ["-c", str(ROOT / "constraints.txt")]
        plan = subprocess.run(
            [python, "-m", "pip", "install", "-q", "--dry-run", "--report", "-", *constraints, wanted],
            check=True, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        names = {one["metadata"]["name"].lower() for one in json.loads(plan.stdout)["install"]}
        if "torch" in names:
            subprocess.run([python, "-m", "pip", "install", "-q", "torch==2.13.0"], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *constraints, wanted], check=True)
        installed = set(json.loads(subprocess.check_output([python, "-c", _LISTED], text=True))) - {"pip", "setuptools"}
        return {
            "schema": 1,
            "extra": extra,
            "how": "installed",
            "bytes": _bytes(site) - before,
            "distributions": len(installed),
            "torch": "torch" in installed,
            "cuda": any(name.startswith("nvidia-") for name in installed),
            "seconds": round(time.monotonic() - started, 1),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def listed(extra: str) -> dict[str, Any]:
    """The same of the distributions that are installed here, by what their records list, and what they require."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    todo = [Requirement(line) for line in project["dependencies"]]
    todo += [Requirement(line) for name in extra.split(",") if name != "core" for line in optional[name]]
    found: dict[str, metadata.Distribution] = {}
    done = set()
    while todo:
        wanted = todo.pop()
        name, extras = canonicalize_name(wanted.name), tuple(sorted(wanted.extras))
        if (name, extras) in done:
            continue
        done.add((name, extras))
        if name == "edgekit":
            todo += [Requirement(line) for one in extras for line in optional[one]]
            continue
        found[name] = metadata.distribution(name)
        for line in map(Requirement, found[name].requires or ()):
            if line.marker is None or any(line.marker.evaluate({"extra": one}) for one in ("", *extras)):
                todo.append(line)
    package = sum(p.stat().st_size for p in (ROOT / "edgekit").rglob("*") if p.is_file() and p.suffix != ".pyc")
    return {
        "schema": 1,
        "extra": extra,
        "how": "listed",
        "bytes": package + sum(map(_recorded, found.values())),
        "distributions": len(found) + 1,
        "torch": "torch" in found,
        "cuda": any(name.startswith("nvidia-") for name in found),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _recorded(found: metadata.Distribution) -> int:
    """Bytes of a distribution's files, without Python's caches and what lies outside of ``site-packages``."""
    paths = (Path(str(f.locate())) for f in found.files or () if ".." not in f.parts and f.suffix != ".pyc")
    return sum(path.stat().st_size for path in paths if path.is_file())


def _bytes(folder: Path) -> int:
    """What files below a folder hold, without Python's caches of compiled modules."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.suffix != ".pyc")


def table() -> str:
    """The newest row of each extra, as Markdown."""
    rows = {row["extra"]: row for row in map(json.loads, ROWS.read_text().splitlines())}
    lines = ["| `pip install` | on disk | packages | torch |", "|---|---|---|---|"]
    for extra in MEASURED:
        if (row := rows.get(extra)) is not None:
            name = "edgekit" if extra == "core" else f"edgekit[{extra}]"
            torch = ("yes" if not row["cuda"] else "with CUDA") if row["torch"] else "no"
            lines.append(f"| `{name}` | {row['bytes'] / _MIB:.0f} MiB | {row['distributions']} | {torch} |")
    return "\n".join(lines)


def write() -> None:
    """Write the table into the README."""
    before, _, rest = README.read_text("utf-8").partition(START)
    README.write_text(f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}", "utf-8")


def append(rows: list[dict[str, Any]]) -> None:
    """Add rows to the file, and print them."""
    with ROWS.open("a") as file:
        for row in rows:
            print(json.dumps(row), flush=True)
            file.write(json.dumps(row) + "\n")


def main() -> None:
    """Measure, append, and write the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("extras", nargs="*", default=MEASURED)
    arguments.add_argument("--fresh", action="store_true", help="Install each.")
    asked = arguments.parse_args()
    if not asked.fresh:
        append([listed(extra) for extra in asked.extras])
        write()
        return
    folder = Path(tempfile.mkdtemp())
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*pip, str(ROOT)], check=True)
    [wheel] = folder.glob("*.whl")
    for extra in asked.extras:
        append([measure(wheel, extra)])
    shutil.rmtree(folder)
    write()


if __name__ == "__main__":
    main()
