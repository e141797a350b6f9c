"""Architectures of others, which the zoo does not have, to every format: what passes, and what stops the rest.

    python -m benchmarks.outside [--models cnn:regnet text ...] [--targets tflite-int8 ...] [--again failed|all]
    python -m benchmarks.outside --page       rewrite docs/outside.md and the README's figure from the newest rows

A model is a function of a file in ``benchmarks/outside_models/``, small, with random weights that behave
(``settled.py`` there) or that have learnt a made-up task (``taught.py``, which is run where they are missing; Keras's by
``taught_keras.py``, which repeats some of it: rows hold the hash of what made them, and would all be stale); its first
line says what it is and which library it is from. Each is converted through the public API: to fp32 for parity alone, to
int8 with its latency against the fp32 file. Ranges come from generated samples of the model's kind, and the files are
compared on others that were held out, so that nothing is said about accuracy. Rows are appended to
``benchmarks/results/outside.jsonl``, one a cell; cells that have one are not run again.

timm imports torchvision, which PyPI has for another build of PyTorch than the one for CPUs. It is looked for in the
folder that ``EDGEKIT_OUTSIDE_TIMM`` names, made by ``pip install --no-deps --target FOLDER timm torchvision``.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgekit
from benchmarks import rows
from edgekit import target as targets
from edgekit import user_code
from edgekit.errors import EdgekitError
from edgekit.jobs.store import Store
from edgekit.jobs.workers import Workers
from edgekit.result import Result
from edgekit.several import SeveralError

MODELS = Path(__file__).parent / "outside_models"
RESULTS = rows.RESULTS / "outside.jsonl"
FLOAT = tuple(f"{name}-fp32" for name in ("tflite", "onnxruntime", "openvino", "executorch", "coreml", "tensorrt"))
INT8 = ("tflite-int8", "onnxruntime-int8", "openvino-int8", "executorch-int8")
#: Of one step in a child: these models are small.
TIMEOUT_S = 400.0
#: Types of operators whose time is said of a slower file.
DEAREST = 4


@dataclass(frozen=True)
class Model:
    """A model of the list.

    Attributes:
        name: ``file:function``.
        kind: as the issue counts them.
        says: what it is.
        library: which it is from.
        data: the function that yields its samples, as the command line takes it.
    """

    name: str
    kind: str
    says: str
    library: str
    data: str

    @property
    def source(self) -> str:
        """As the command line takes it."""
        file, _, function = self.name.partition(":")
        return f"{MODELS / file}.py:{function}"

    def teach(self) -> None:
        """Make the weights that it has learnt, where it is one that learns and they are not there."""
        subprocess.run([sys.executable, "taught.py", self.name], cwd=MODELS, check=True)

    @property
    def sha256(self) -> str:
        """Of the code that it is made by."""
        path, _, function = self.source.rpartition(":")
        return user_code.sha256(Path(path), function)


def models() -> list[Model]:
    """The list, as the files' text has it: nothing is imported."""
    return [model for path in sorted(MODELS.glob("*.py")) for model in _of_file(path)]


def _of_file(path: Path) -> Iterable[Model]:
    tree = ast.parse(path.read_text("utf-8"))
    kinds = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and ast.unparse(node.targets[0]) == "KIND"
    ]
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, node in functions.items() if kinds else ():
        if name.startswith(("_", "samples")):
            continue
        says, _, library = (ast.get_docstring(node) or "").strip().rstrip(".").rpartition(": ")
        samples = f"samples_{name}" if f"samples_{name}" in functions else "samples"
        yield Model(f"{path.stem}:{name}", str(kinds[0]), says, library, f"{path}:{samples}")


def newest() -> dict[tuple[str, str], dict[str, Any]]:
    """The newest row of each cell."""
    lines = RESULTS.read_text("utf-8").splitlines() if RESULTS.is_file() else []
    return {(row["model"], row["target"]): row for row in map(json.loads, lines)}


def run(chosen: Sequence[Model], names: Sequence[str], *, again: str | None = None, latency: bool = True) -> None:
    """Convert what has no row yet; ``again``: also what did not pass (``failed``), or ``all``."""
    store = Store()
    for libraries in ("transformers", "keras.applications"), ("timm",):  # timm's torchvision is for timm alone
        with Workers() as workers:
            for model in _by_turns([m for m in chosen if m.library in libraries]):
                known, sha256 = newest(), model.sha256
                wanted = [name for name in names if _wanted(known.get((model.name, name)), sha256, again, latency)]
                if wanted:
                    model.teach()
                begin = time.monotonic()
                found = [*_converted(model, [n for n in wanted if n in FLOAT], False, workers, store)]
                found += _converted(model, [n for n in wanted if n not in FLOAT], latency, workers, store)
                for name, ended, cost in found:
                    _append({**_row(model, name, ended), **cost, "source_sha256": sha256, **rows.stamp()})
                if found:
                    print(f"  {time.monotonic() - begin:.0f} s", flush=True)


def _by_turns(chosen: Iterable[Model]) -> list[Model]:
    """The first of each kind, then the second: what is there at any time says something of all kinds."""
    place: dict[str, int] = {}
    turns = []
    for model in chosen:
        place[model.kind] = place.get(model.kind, 0) + 1
        turns.append((place[model.kind], len(turns), model))
    return [model for *_, model in sorted(turns, key=lambda turn: turn[:2])]


def _append(row: dict[str, Any]) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(row["model"], row["target"], row["status"], *row["flags"], row["sqnr_db"] or "", row["reason"], flush=True)


def _wanted(row: dict[str, Any] | None, sha256: str, again: str | None, latency: bool) -> bool:
    if row is None or row["source_sha256"] != sha256 or again == "all":
        return True
    if row["status"] != "PASS":
        return again == "failed"
    return latency and row["target"] not in FLOAT and row["ratio"] is None


def _converted(
    model: Model, names: Sequence[str], latency: bool, workers: Workers, store: Store
) -> Iterable[tuple[str, Result | EdgekitError, dict[str, Any]]]:
    """What became of each target, in their order, and of what is slower the operators that cost it."""
    if not names:
        return []
    with tempfile.TemporaryDirectory() as scratch:
        try:
            found: Sequence[Result | EdgekitError] = edgekit.convert(
                model.source, list(names), calibrate=model.data, output=Path(scratch) / "out", latency=latency, trust=True,
                timeout=TIMEOUT_S, workers=workers, store=store,
            )  # fmt: skip
        except SeveralError as error:
            found = [error.ended[name] for name in names]
        except EdgekitError as error:  # the source or its data, for all of them
            found = [error] * len(names)
        return [(name, ended, _cost(ended)) for name, ended in zip(names, found, strict=True)]


def _cost(ended: Result | EdgekitError) -> dict[str, Any]:
    """Of a slower file, by type: how many operators its fast kernels leave, and milliseconds of the dearest.

    Either is None where the runtime does not tell it, and of files that are not slower.
    """
    if not isinstance(ended, Result) or "SLOWER" not in ended.flags or ended.artifact is None:
        return {"ops_left": None, "ops_ms": None}
    told = edgekit.inspect(ended.artifact).get("delegated")
    left = told and {name: of - taken for name, (taken, of) in told.items() if of > taken}
    command = [sys.executable, "-m", "edgekit", "benchmark", str(ended.artifact), "--seconds", "0.3", "--json"]
    (row,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["rows"]
    taken: Counter[str] = Counter()
    for operator in row["measured"]["operators"] or ():
        taken[operator["kind"].partition(" ")[0]] += operator["ms"]
    return {"ops_left": left, "ops_ms": {name: round(ms, 4) for name, ms in taken.most_common(DEAREST)} or None}


def _row(model: Model, name: str, ended: Result | EdgekitError) -> dict[str, Any]:
    """One cell; what was not measured is None."""
    cell = {"model": model.name, "kind": model.kind, "library": model.library, "target": name}
    if isinstance(ended, EdgekitError):
        said = {"status": ended.code, "reason": str(ended), "hint": ended.hint or ""}
        return {**cell, **said, "flags": [], "sqnr_db": None}
    parity, latency, audit = ended.parity, ended.latency, ended.audit
    return {
        **cell,
        "status": ended.status,
        "flags": [flag for flag in ended.flags if flag != "REUSED"],
        "reason": ended.reason,
        "hint": ended.error.hint if ended.error else "",
        "proof": ended.proof.kind,
        "route": ended.route,
        "routes_tried": [[tried.route, tried.status, tried.reason] for tried in ended.routes_tried],
        "sqnr_db": round(parity.sqnr_db, 1) if parity else None,
        "variation_db": round(parity.variation_db, 1) if parity and parity.variation_db is not None else None,
        "n": parity.samples if parity else None,
        "macs_quantized_share": audit.macs_quantized_share if audit else None,
        "ops_float": audit.ops_float if audit else None,
        "cpu_seconds": round(sum(ended.cpu_seconds.values()), 1),
        "ratio": round(latency.ratio, 3) if latency else None,
        "ratio_ci95": [round(value, 3) for value in latency.ratio_ci95] if latency else None,
        "float_cpu_ms": latency.float_cpu_ms if latency else None,
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=[], help="files, or file:function")
    parser.add_argument("--targets", nargs="*", default=[*FLOAT, *INT8], choices=targets.names())
    parser.add_argument("--again", choices=("failed", "all"))
    parser.add_argument("--no-latency", action="store_true", help="int8: the first route that passes, untimed")
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args()
    if asked.page:
        from benchmarks import outside_page

        outside_page.write()
        return
    known = models()
    chosen = [m for m in known if not asked.models or {m.name, m.name.partition(":")[0]} & set(asked.models)]
    run(chosen, asked.targets, again=asked.again, latency=not asked.no_latency)


if __name__ == "__main__":
    main()
