"""What ``test_onnx.py`` and ``test_openvino.py`` share: running the child, and comparing with its reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.jobs.workers import Workers
from tests.contract.conftest import inside

ROOT = Path(__file__).parents[2]
CHILD = Path(__file__).with_name("exchange_child.py")


def convert(toolchain: str, framework: str, folder: Path, workers: Workers) -> Path:
    """Convert all models of a framework by all routes of a toolchain, in a child that tests share."""
    environment = "torch" if framework == "torch" else "keras-tensorflow"
    inside(workers, f"../{CHILD.name}", toolchain, framework, str(folder), environment=environment)
    return folder


def convert_alone(toolchain: str, framework: str, folder: Path, seed: str) -> Path:
    """The same in a process of its own, which hashes with another seed."""
    variables = {
        **os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": seed,
    }  # fmt: skip
    command = [sys.executable, str(CHILD), toolchain, framework, str(folder)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def outcome(folder: Path, model: str) -> dict[str, str]:
    """Why routes refused, by route."""
    found: dict[str, str] = json.loads((folder / model / "outcome.json").read_text())
    return found


def same_outputs(folder: Path, model: str, first: Any, second: Any) -> bool:
    """Whether two sessions give the same numbers on the child's samples."""
    with np.load(folder / model / "samples.npz") as stored:
        samples = {name: stored[name] for name in stored.files}
    rows = [{n: a[i : i + 1] for n, a in samples.items()} for i in range(len(next(iter(samples.values()))))]
    pairs = [(first.run(row), second.run(row)) for row in rows]
    return all(np.array_equal(one[name], two[name]) for one, two in pairs for name in one)


def sqnr(folder: Path, model: str, session: Any) -> float:
    """SQNR in dB of a session on the child's samples, the worst over the outputs."""
    samples, reference = np.load(folder / model / "samples.npz"), np.load(folder / model / "reference.npz")
    count = len(samples[samples.files[0]])
    rows = [session.run({n: samples[n][i : i + 1] for n in samples.files}) for i in range(count)]
    worst = np.inf
    for name in reference.files:
        wanted = reference[name].astype(np.float64)
        noise = np.square(wanted - np.concatenate([row[name] for row in rows])).sum()
        worst = min(worst, 10 * np.log10(np.square(wanted).sum() / max(noise, 1e-300)))
    return float(worst)
