"""What runs in the child of ``handmade.py``: opens edgekit's file and its rivals, judges the rivals, times the two.

    python benchmarks/rivals.py judge | time  < JSON  > JSON

Files by hand may lack the source's tensor names, so inputs and outputs go by position.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import target as targets
from edgekit import toolchains
from edgekit.data import rows
from edgekit.errors import EdgekitError
from edgekit.jobs.store import sha256_file
from edgekit.proof import execution, latency, parity, precision
from edgekit.proof.judge import judge_parity
from edgekit.result import Inspected

#: Selection samples on which a file by hand is compared with the framework.
SAMPLES = 128
#: With random weights parity is information alone, and a large model takes seconds per sample.
FEW = 4
#: A first look at every rival that holds the gate; the full measurement is of those that come near the best.
LOOK = {"blocks": 15, "block_ms": 4.0}
NEAR = 1.10


#: Formats that a stand-in runs here: of their files by hand, the smallest counts.
NOT_TIMED = ("coreml", "tensorrt")


def files(model: Path) -> list[Path]:
    """All files of a model: its weights' file, or what is in its package."""
    if model.is_dir():
        return sorted(path for path in model.rglob("*") if path.is_file())
    return [model, model.with_suffix(".bin")] if model.suffix == ".xml" else [model]


def size(model: Path) -> int:
    """Bytes of a model, all its files."""
    return sum(file.stat().st_size for file in files(model))


def same_bytes(a: Path, b: Path) -> bool:
    """Whether two models are identical, all their files."""
    hashes = [[sha256_file(file) for file in files(model)] for model in (a, b)]
    return hashes[0] == hashes[1]


class Opened:
    """A file in its runtime, with tensors by position."""

    def __init__(self, file: Path, target: targets.Target) -> None:
        self.audit: Inspected = toolchains.audit(target.toolchain, file)
        self.session = toolchains.open_session(target.toolchain, file, toolchains.Options(target.scheme))
        self.names = [t.name for t in self.audit.inputs]

    def invoke(self, arrays: list[Any]) -> Callable[[], object]:
        return self.session.bind(dict(zip(self.names, arrays, strict=True)))

    def run(self, arrays: list[Any]) -> list[Any]:
        self.session.reset()
        return list(self.session.run(dict(zip(self.names, arrays, strict=True))).values())


def _kinds(audit: Inspected) -> list[Any]:
    """Shapes and types of inputs and outputs, by position: int8 input is another contract than float input."""
    return [[(t.dtype, list(t.shape)) for t in side] for side in (audit.inputs, audit.outputs)]


def compare(made: Opened, samples: Path, outputs: Path, count: int) -> parity.Parity:
    """Run the first ``count`` samples and compare with the framework's outputs, output by output of the same size."""
    sources = (samples, "x/"), (outputs / execution.OUTPUTS, execution.PREFIX)
    given, reference = next(rows.side_by_side(*sources))
    inputs, expected = [array[:count] for array in given.values()], {n: a[:count] for n, a in reference.items()}
    ran = [made.run([array[i : i + 1] for array in inputs]) for i in range(len(inputs[0]))]
    columns = [np.concatenate([outputs[i] for outputs in ran]) for i in range(len(ran[0]))]
    measured = {}
    for name, array in expected.items():
        index = next((i for i, found in enumerate(columns) if found.size == array.size), None)
        if index is None:
            raise EdgekitError(f"no output of {array.shape[1:]} per sample")
        measured[name] = columns.pop(index).reshape(array.shape)
    return parity.compare(expected, measured)


def verdict(
    file: Path, ours: Opened, target: targets.Target, samples: Path, outputs: Path, count: int
) -> dict[str, Any]:
    """Whether a file by hand is a rival: it is what the target claims, and holds its parity gate."""
    made = Opened(file, target)
    found = {"bytes": size(file)}
    if missing := precision.shortfall(target.scheme, made.audit, integer_io=target.integer_io):
        return found | {"status": "FAIL_PRECISION", "reason": missing[:200]}
    closeness = compare(made, samples, outputs, count)
    judged = judge_parity(closeness, target.gate.parity)
    found |= {"sqnr_db": round(closeness.sqnr_db, 1), "status": judged.status, "reason": judged.reason}
    if judged.status == "PASS" and sorted(map(str, _kinds(made.audit))) != sorted(map(str, _kinds(ours.audit))):
        return found | {"status": "OTHER_CONTRACT", "reason": "inputs or outputs of another type or shape"}
    return found


def judge(target: str, ours: str, samples: str, outputs: str, made: dict[str, str], gated: bool) -> dict[str, Any]:
    """Verdict on every file by hand of one cell, with edgekit's CPU time over its own where it is a rival.

    Without ``gated`` (random weights, which differ between the two) parity does not count.
    """
    chosen, mine, found = targets.load(target), Path(ours), {}
    count = SAMPLES if gated else FEW
    opened = Opened(mine, chosen)
    arrays = [array[:1] for array in next(rows.read(Path(samples), "x/")).values()]
    for call, name in made.items():
        file = Path(name)
        try:
            row = verdict(file, opened, chosen, Path(samples), Path(outputs), count)
            if row["status"] == "FAIL_PARITY" and not gated:
                row["status"] = "PASS"
            row["identical"] = same_bytes(mine, file)
            if row["status"] == "PASS" and target.startswith(NOT_TIMED):
                row["look"] = size(mine) / row["bytes"]
            elif row["status"] == "PASS" and not row["identical"]:
                times = latency.measure(Opened(file, chosen).invoke(arrays), opened.invoke(arrays), **LOOK)
                row["look"] = times.ratio
        except EdgekitError as error:
            row = {"status": "FAILED", "reason": f"does not run: {str(error).replace(name, file.name)[:200]}"}
        except Exception as error:  # a runtime may raise anything on a broken file, which is then no rival
            row = {"status": "FAILED", "reason": f"{type(error).__name__}: {str(error)[:200]}"}
        found[call] = row
    return {"sqnr_db": round(compare(opened, Path(samples), Path(outputs), count).sqnr_db, 1), "calls": found}


def finalists(calls: dict[str, Any]) -> list[str]:
    """The calls to time in full: those within 10 % of the best in the first look, at most three."""
    looks = {call: row["look"] for call, row in calls.items() if "look" in row}
    looks |= {call: 1.0 for call, row in calls.items() if row.get("identical") and row["status"] == "PASS"}
    ordered = sorted(looks, key=lambda call: -looks[call])
    return [call for call in ordered if looks[call] * NEAR >= looks[ordered[0]]][:3]


def time(target: str, ours: str, samples: str, made: dict[str, str], blocks: int, block_ms: float) -> dict[str, Any]:
    """Edgekit's file against each of ``made``, in turns, in CPU time."""
    chosen = targets.load(target)
    arrays = [array[:1] for array in next(rows.read(Path(samples), "x/")).values()]
    mine = Opened(Path(ours), chosen).invoke(arrays)
    found = {}
    for call, name in made.items():
        opened = Opened(Path(name), chosen)
        found[call] = asdict(latency.measure(opened.invoke(arrays), mine, blocks=blocks, block_ms=block_ms))
    return found


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    function = {"judge": judge, "time": time}[sys.argv[1]]
    for request in json.load(sys.stdin):
        print(json.dumps(function(**request)), file=answers, flush=True)


if __name__ == "__main__":
    main()
